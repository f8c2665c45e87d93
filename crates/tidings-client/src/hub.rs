//! Subscribes to topics of a hub.

use url::Url;

use crate::publish::HUB_PATH;
use crate::subscribe::EventSource;

/// Data that a Tidings hub sends on request: the topics of each event, notices, and an id
/// before the first event. Other hubs ignore it.
const OPTIONS: &str = "topics,notices,place";

impl EventSource {
    /// A stream of a hub's topics. `hub` is the hub's origin, or its protocol's URL. A topic may be
    /// a URI template, or `*` for every topic.
    ///
    /// A Tidings hub is asked for an id before the first event, so that a connection lost before
    /// it loses nothing; for the topics of each event
    /// ([`ReceivedEvent::topics`](crate::ReceivedEvent::topics)); and for
    /// [notices](crate::Incoming::Notice). Other parameters in the URL's query are kept.
    ///
    /// ```no_run
    /// use tidings_client::EventSource;
    ///
    /// # async fn example() -> Result<(), tidings_client::CloseReason> {
    /// let topics = ["https://example.com/books/1", "https://example.com/authors/{id}"];
    /// let mut stream = EventSource::topics("http://localhost:8081", topics).open();
    /// while let Some(event) = stream.next_event().await? {
    ///     println!("{}", event.data());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn topics<T: AsRef<str>>(
        hub: impl AsRef<str>,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        // An invalid URL is reported when the stream is opened.
        let Ok(mut url) = Url::parse(hub.as_ref()) else { return Self::get(hub) };
        if url.path() == "/" {
            url.set_path(HUB_PATH);
        }
        let mut query = url.query_pairs_mut();
        for topic in topics {
            query.append_pair("topic", topic.as_ref());
        }
        query.append_pair("tidings", OPTIONS);
        drop(query);
        Self::get(&url)
    }
}
