//! Tokens that were revoked before they expired.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use parking_lot::Mutex;
use tidings_core::model::{RevokedToken, TokenId};

use crate::clock;
use crate::limits::REVOKED_MAX;

/// The revoked tokens. Each is kept until it expires. At the bound, the oldest is dropped.
#[derive(Debug, Default)]
pub(crate) struct Revoked(Mutex<RevokedList>);

#[derive(Debug, Default)]
struct RevokedList {
    until: HashMap<TokenId, Option<SystemTime>>,
    order: VecDeque<TokenId>,
}

impl Revoked {
    /// Adds the tokens that an earlier process revoked, unless they have expired since.
    pub(crate) fn restore(&self, tokens: Vec<RevokedToken>) {
        let now = clock::time();
        let lasting = |token: &RevokedToken| token.until.is_none_or(|until| until > now);
        for token in tokens.into_iter().filter(lasting) {
            if let Some(id) = TokenId::kept(&token.name) {
                self.add(id, token.until);
            }
        }
    }

    pub(crate) fn add(&self, token: TokenId, expires: Option<SystemTime>) {
        let mut list = self.0.lock();
        // Tokens may share an id. It stays revoked until the last of them expires.
        let expires = match list.until.get(&token) {
            Some(known) => known.zip(expires).map(|(known, expires)| known.max(expires)),
            None => expires,
        };
        if list.until.insert(token.clone(), expires).is_none() {
            list.order.push_back(token);
        }
        if list.order.len() > REVOKED_MAX {
            list.trim();
        }
    }

    /// The tokens that have not expired, in the order in which they were revoked.
    pub(crate) fn list(&self) -> Vec<RevokedToken> {
        let now = clock::time();
        let list = self.0.lock();
        let tokens = list.order.iter().filter_map(|token| {
            let until = *list.until.get(token)?;
            let lasts = until.is_none_or(|until| until > now);
            lasts.then(|| RevokedToken::new(token.as_str().to_owned(), until))
        });
        tokens.collect()
    }

    pub(crate) fn contains(&self, token: &TokenId) -> bool {
        let list = self.0.lock();
        !list.until.is_empty() && list.until.contains_key(token)
    }
}

impl RevokedList {
    fn trim(&mut self) {
        let now = clock::time();
        self.until.retain(|_, expires| expires.is_none_or(|expires| expires > now));
        self.order.retain(|token| self.until.contains_key(token));
        while self.order.len() > REVOKED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            tracing::warn!(
                "too many revoked tokens: the oldest revocation was dropped, so its token is accepted again"
            );
            self.until.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn expired_tokens_are_dropped_before_others() {
        let revoked = Revoked::default();
        let now = SystemTime::now();
        let token = |name: usize| TokenId::named(&name.to_string());
        revoked.add(token(0), None);
        for name in 1..REVOKED_MAX {
            revoked.add(token(name), Some(now - Duration::from_secs(1)));
        }
        assert!(revoked.contains(&token(0)) && revoked.contains(&token(1)));
        revoked.add(token(REVOKED_MAX), None);
        revoked.add(token(REVOKED_MAX + 1), Some(now + Duration::from_secs(60)));
        assert!(revoked.contains(&token(0)));
        assert!(!revoked.contains(&token(1)));
        assert!(revoked.contains(&token(REVOKED_MAX + 1)));
    }

    #[test]
    fn an_id_that_tokens_share_is_revoked_until_the_last_of_them_expires() {
        let now = SystemTime::now();
        let [early, late] = [60, 3600].map(|seconds| Some(now + Duration::from_secs(seconds)));
        for (ends, expected) in
            [([early, late], late), ([late, early], late), ([None, early], None)]
        {
            let revoked = Revoked::default();
            for end in ends {
                revoked.add(TokenId::named("1"), end);
            }
            assert_eq!(revoked.list()[0].until, expected);
        }
    }
}
