//! Compiles the selectors of requests: on threads beside the shards, within a budget.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidings_core::model::{Allowance, InvalidSelectors, Selectors, Spelled};
use tokio::sync::Semaphore;

use crate::admission::Client;
use crate::beside;
use crate::budget::{Budget, ClientAccount, Standing};
use crate::limits::{COMPILING_BYTES, PATTERN_BYTES, PATTERNS_BYTES, PATTERNS_MAX, PUBLISH_WAIT};

/// Compiles selectors, few requests at a time.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// The room of compiled patterns, long lists of topics and tokens' grants, held for their
    /// lifetime.
    kept: Arc<Budget>,
    /// The room used while patterns are compiled. It also keeps the turns of addresses fair.
    compiling: Arc<Budget>,
    /// Threads that compile: so few that the shards keep a core.
    turns: Arc<Semaphore>,
}

/// Why selectors were not compiled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotCompiled {
    /// The request's selectors are invalid.
    Invalid(InvalidSelectors),
    /// There is no room for them now.
    Full,
}

impl From<InvalidSelectors> for NotCompiled {
    fn from(error: InvalidSelectors) -> Self {
        match error {
            InvalidSelectors::NoRoom => Self::Full,
            invalid => Self::Invalid(invalid),
        }
    }
}

impl Compiler {
    /// A compiler whose results may use this many bytes at a time.
    pub(crate) fn new(bytes: usize) -> Self {
        let cores = beside::cores();
        Self {
            kept: Budget::new(bytes),
            compiling: Budget::new(COMPILING_BYTES),
            turns: Arc::new(Semaphore::new((cores / 2).max(1))),
        }
    }

    /// The bytes of compiled patterns, long lists of topics, and tokens' grants.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.used()
    }

    /// The account for patterns and lists of this client.
    pub(crate) fn account(&self, client: Option<Client>, standing: Standing) -> ClientAccount {
        ClientAccount { budget: Arc::clone(&self.kept), client, standing }
    }

    /// The selectors of one request. Those that need no compiling, and those that others have had
    /// compiled already, are ready at once.
    ///
    /// # Errors
    /// If they are invalid, or there is no room for them now.
    pub(crate) async fn compile(
        &self,
        spelled: Vec<Spelled>,
        client: Option<Client>,
        standing: Standing,
    ) -> Result<Selectors, NotCompiled> {
        let mut ready = Vec::with_capacity(spelled.len());
        // Each one once, and each kept while the rest is compiled.
        let mut patterns = BTreeSet::new();
        let mut rest = Vec::new();
        for one in spelled {
            match one.ready()? {
                Some(selector) => {
                    if selector.is_pattern() {
                        patterns.insert(one);
                    }
                    ready.push(selector);
                }
                None => {
                    if patterns.insert(one.clone()) {
                        rest.push(one);
                    }
                }
            }
        }
        if patterns.len() > PATTERNS_MAX {
            return Err(InvalidSelectors::TooManyPatterns { count: patterns.len() }.into());
        }
        let account = self.account(client, standing);
        if !rest.is_empty() {
            ready.extend(self.beside(rest, account.clone()).await?);
        }
        let mut selectors = Selectors::new(ready)?;
        selectors.charge_to(&account)?;
        Ok(selectors)
    }

    /// Compiles on a thread of its own. The thread holds the permits until the work is done, also
    /// if the client disconnects.
    async fn beside(
        &self,
        rest: Vec<Spelled>,
        account: ClientAccount,
    ) -> Result<Vec<tidings_core::model::Selector>, NotCompiled> {
        let bytes = (rest.len() * PATTERN_BYTES).min(PATTERNS_BYTES);
        let ClientAccount { client, standing, .. } = account;
        let permit = self.compiling.take(client, standing, bytes, PUBLISH_WAIT).await;
        let permit = permit.map_err(|_| NotCompiled::Full)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let compile = move || {
            let _held = (permit, turn);
            let mut allowance = Allowance::charged(PATTERNS_BYTES, Some(Arc::new(account)));
            rest.iter().map(|one| one.compile(&mut allowance)).collect::<Result<_, _>>()
        };
        match beside::run(compile).await {
            Ok(compiled) => compiled.map_err(NotCompiled::from),
            // The same text would fail again, so the client is not told to reconnect.
            Err(error) if error.is_panic() => {
                Err(NotCompiled::Invalid(InvalidSelectors::NoPattern { bytes_max: PATTERN_BYTES }))
            }
            // The runtime is shutting down.
            Err(_) => Err(NotCompiled::Full),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tidings_core::model::Selector;

    use super::*;

    fn client(last: u8) -> Option<Client> {
        Some(Client::from(IpAddr::from([10, 0, 0, last])))
    }

    fn templates(name: &str, count: usize) -> Vec<Spelled> {
        (0..count).map(|at| Spelled::Template(format!("{name}/{at}/{{x}}"))).collect()
    }

    #[tokio::test]
    async fn compiled_patterns_count_once_and_until_the_last_user_is_dropped() {
        let compiler = Compiler::new(8 << 20);
        let compile =
            |last| compiler.compile(templates("once", 20), client(last), Standing::Anyone);
        let first = compile(1).await.unwrap();
        let taken = compiler.kept_bytes();
        assert!((20 << 10..200 << 10).contains(&taken), "{taken}");
        let second = compile(2).await.unwrap();
        assert_eq!(compiler.kept_bytes(), taken);
        drop(first);
        assert_eq!(compiler.kept_bytes(), taken);
        drop(second);
        assert_eq!(compiler.kept_bytes(), 0);
    }

    #[tokio::test]
    async fn one_address_cannot_take_the_room_of_others() {
        let compiler = Compiler::new(1 << 20);
        let mut kept = Vec::new();
        let mut refused = None;
        for round in 0..100 {
            let asked = templates(&format!("greedy{round}"), 20);
            match compiler.compile(asked, client(1), Standing::Anyone).await {
                Ok(selectors) => kept.push(selectors),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert_eq!(refused, Some(NotCompiled::Full));
        assert!(compiler.kept_bytes() <= 256 << 10, "{}", compiler.kept_bytes());
        compiler.compile(templates("modest", 20), client(2), Standing::Anyone).await.unwrap();
        drop(kept);
        compiler.compile(templates("greedy", 20), client(1), Standing::Anyone).await.unwrap();
        assert_eq!(compiler.kept_bytes(), 0);
    }

    #[tokio::test]
    async fn long_lists_of_topics_count_and_short_ones_do_not() {
        let compiler = Compiler::new(8 << 20);
        let topics = |count: usize| {
            let one =
                |at: usize| Spelled::Exact(format!("https://a.test/{at}/{}", "x".repeat(500)));
            compiler.compile((0..count).map(one).collect(), client(1), Standing::Anyone)
        };
        let short = topics(3).await.unwrap();
        assert_eq!(compiler.kept_bytes(), 0);
        let long = topics(1000).await.unwrap();
        let copy = long.clone();
        let taken = compiler.kept_bytes();
        assert!((500_000..1_000_000).contains(&taken), "{taken}");
        drop((short, long));
        assert_eq!(compiler.kept_bytes(), taken);
        drop(copy);
        assert_eq!(compiler.kept_bytes(), 0);
    }

    #[tokio::test]
    async fn too_many_patterns_are_refused_before_any_is_compiled() {
        let compiler = Compiler::new(8 << 20);
        let refused = compiler.compile(templates("many", 101), None, Standing::Anyone).await;
        let expected = InvalidSelectors::TooManyPatterns { count: 101 };
        assert_eq!(refused.unwrap_err(), NotCompiled::Invalid(expected));
        // An existing one counts as well.
        let there = Selector::template("many/0/{x}").unwrap();
        let refused = compiler.compile(templates("many", 101), None, Standing::Anyone).await;
        assert!(matches!(refused, Err(NotCompiled::Invalid(_))));
        drop(there);
    }

    #[tokio::test]
    async fn abandoned_work_holds_its_turn_until_it_is_done() {
        let compiler = Compiler::new(64 << 20);
        let turns = compiler.turns.available_permits();
        let names: Vec<_> = (0..29).map(|at| format!("name{at}")).collect();
        let heavy = (0..50).map(|at| Spelled::Template(format!("/{at}{{?{}}}", names.join(","))));
        {
            let work = compiler.compile(heavy.collect(), client(1), Standing::Anyone);
            let mut work = std::pin::pin!(work);
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(work.as_mut().poll(context).is_pending())
            });
            assert!(polled.await, "it did not go to a thread of its own");
        }
        assert!(compiler.compiling.used() > 0);
        let all = Arc::clone(&compiler.turns).acquire_many_owned(turns as u32).await;
        drop(all);
        assert_eq!(compiler.compiling.used(), 0);
        // The runtime drops the result after the work has given its turn back.
        let given_back = async {
            while compiler.kept_bytes() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PUBLISH_WAIT, given_back).await.unwrap();
    }
}
