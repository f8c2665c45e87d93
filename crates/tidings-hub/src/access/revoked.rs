//! Tokens that are good no more, though they have not expired.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::TokenId;
use crate::journal::RevokedToken;
use crate::limits::REVOKED_MAX;

/// The tokens that were revoked. They are kept until they expire; so many that the bound is
/// reached push the oldest out.
#[derive(Debug, Default)]
pub(crate) struct Revoked(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    until: HashMap<TokenId, Option<SystemTime>>,
    order: VecDeque<TokenId>,
}

impl Revoked {
    /// Adds those that an earlier process has barred, and that have not ended since.
    pub(crate) fn restore(&self, tokens: Vec<RevokedToken>) {
        let now = SystemTime::now();
        let lasting = |token: &RevokedToken| token.until.is_none_or(|until| until > now);
        for token in tokens.into_iter().filter(lasting) {
            self.add(TokenId(token.name.into()), token.until);
        }
    }

    pub(crate) fn add(&self, token: TokenId, expires: Option<SystemTime>) {
        let mut list = self.0.lock();
        if list.until.insert(token.clone(), expires).is_none() {
            list.order.push_back(token);
        }
        if list.order.len() > REVOKED_MAX {
            list.trim();
        }
    }

    pub(crate) fn contains(&self, token: &TokenId) -> bool {
        let list = self.0.lock();
        !list.until.is_empty() && list.until.contains_key(token)
    }
}

impl List {
    fn trim(&mut self) {
        let now = SystemTime::now();
        self.until.retain(|_, expires| expires.is_none_or(|expires| expires > now));
        self.order.retain(|token| self.until.contains_key(token));
        while self.order.len() > REVOKED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            tracing::warn!("too many tokens are revoked: the oldest of them is good again");
            self.until.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_expired_goes_before_what_has_not() {
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
}
