//! Publishes to the hub that the environment names.
//!
//! ```sh
//! HUB=http://localhost:8081/.well-known/mercure cargo run -p tidings-client --example publish
//! ```

use tidings_client::{Event, Publisher, Update};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Publisher::to(&std::env::var("HUB")?)?;
    let update = Update::new("https://example.com/books/1", Event::new(r#"{"from":"Rust"}"#));
    println!("{}", hub.publish(&update).await?);
    Ok(())
}
