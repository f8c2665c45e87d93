//! Makes a token with `jsonwebtoken`, from the key in the file `hub.key`. docs/tokens.md explains it.
//!
//! ```sh
//! cargo run -p tidings-hub --features tokens --example make_token
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = std::fs::read_to_string("hub.key")?;
    let key = EncodingKey::from_secret(key.trim().as_bytes());
    let end = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(3600);
    let claims = json!({
        "mercure": { "subscribe": ["https://example.com/books/{id}"] },
        "exp": end.as_secs(),
    });
    println!("{}", encode(&Header::default(), &claims, &key)?);
    Ok(())
}
