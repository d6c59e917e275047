//! A lock seen from outside.

use std::time::Duration;

use crate::engine::transport::Reply;

/// What the server knows about a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Who holds it; empty when it is free. Of a group, one entry for each value held.
    pub holders: Vec<Holder>,
    /// How long it lasts if nobody renews it; `None` when it is free or has no time to live at all.
    pub ttl: Option<Duration>,
    /// Clients subscribed to its channel: those with somebody waiting. One for each client, however many wait in it. Waiters
    /// for a fair lock have a channel each, and are in [`queue`](Self::queue) instead.
    pub waiting_clients: u64,
    /// Who stands in the queue of a fair lock, the next one first.
    pub queue: Vec<String>,
    /// How many wait in this client.
    pub waiting_here: usize,
}

/// One holder of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// `client-uuid:number`, as written by this library or Redisson; a writer's ends with `:write`.
    pub id: String,
    /// How often it has entered.
    pub holds: u64,
}

impl Inspection {
    /// Whether anybody holds the lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        !self.holders.is_empty()
    }

    /// Reads the replies of `inspect/hash.lua`, `PUBSUB NUMSUB` and `LRANGE`. Fields that are no counts are passed over.
    pub(crate) fn decode(
        fields: &Reply,
        waiters: &Reply,
        queue: &Reply,
        waiting_here: usize,
    ) -> Option<Self> {
        let Reply::Array(items) = fields else {
            return None;
        };
        let (ttl, fields) = items.split_first()?;
        let holders = fields
            .chunks_exact(2)
            .filter_map(|pair| {
                let [Reply::Text(id), holds] = pair else {
                    return None;
                };
                Some(Holder {
                    id: owner(&String::from_utf8_lossy(id))?.to_owned(),
                    holds: u64::try_from(holds.as_int()?).ok()?,
                })
            })
            .collect();
        let waiting_clients = match waiters {
            Reply::Array(pairs) => pairs.chunks_exact(2).try_fold(0_u64, |sum, pair| {
                sum.checked_add(u64::try_from(pair.get(1)?.as_int()?).ok()?)
            })?,
            _ => return None,
        };
        let queue = match queue {
            Reply::Array(owners) => owners
                .iter()
                .filter_map(|owner| match owner {
                    Reply::Text(id) => Some(String::from_utf8_lossy(id).into_owned()),
                    _ => None,
                })
                .collect(),
            _ => return None,
        };
        Some(Self {
            holders,
            ttl: u64::try_from(ttl.as_int()?).ok().map(Duration::from_millis),
            waiting_clients,
            queue,
            waiting_here,
        })
    }
}

/// The owner that a counting field is about: the field itself, or in a group the middle of `value:owner:lock_count`.
fn owner(field: &str) -> Option<&str> {
    if field.ends_with(":expire_time") {
        return None;
    }
    match field.strip_suffix(":lock_count") {
        Some(counted) => counted.split_once(':').map(|(_, owner)| owner),
        None => Some(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Reply {
        Reply::Text(text.into())
    }

    #[test]
    fn replies_are_read_and_odd_ones_refused() {
        let fields = Reply::Array(vec![Reply::Int(900), text("u:1"), text("2")]);
        let pair = [text("channel"), Reply::Int(3)];
        let waiters = Reply::Array([pair.clone(), pair].concat());
        let queue = Reply::Array(vec![text("u:2"), Reply::Nil, text("u:3")]);
        let seen = Inspection::decode(&fields, &waiters, &queue, 0).expect("well formed");
        assert!(seen.is_locked());
        assert_eq!(
            seen.holders,
            [Holder {
                id: "u:1".into(),
                holds: 2
            }]
        );
        assert_eq!(seen.ttl, Some(Duration::from_millis(900)));
        assert_eq!(seen.waiting_clients, 6);
        assert_eq!(seen.queue, ["u:2", "u:3"]);

        let free = Reply::Array(vec![Reply::Int(-2)]);
        let seen = Inspection::decode(&free, &waiters, &queue, 0).expect("well formed");
        assert!(!seen.is_locked());
        assert_eq!(seen.ttl, None);

        assert!(Inspection::decode(&Reply::Nil, &waiters, &queue, 0).is_none());
        assert!(Inspection::decode(&Reply::Array(vec![]), &waiters, &queue, 0).is_none());
        assert!(Inspection::decode(&free, &Reply::Int(1), &queue, 0).is_none());
        assert!(Inspection::decode(&free, &waiters, &Reply::Int(1), 0).is_none());
    }

    #[test]
    fn the_holders_of_a_group_are_found_in_its_fields() {
        let value = "1gKBFfuWlWbVFCZ0MXudYA";
        let field = |suffix: &str| Reply::Text(format!("{value}:u:7:{suffix}").into());
        let fields = Reply::Array(vec![
            Reply::Int(900),
            text(value),
            text("u:7"),
            field("expire_time"),
            text("1795409554301"),
            field("lock_count"),
            text("2"),
        ]);
        let waiters = Reply::Array(vec![text("channel"), Reply::Int(0)]);
        let seen = Inspection::decode(&fields, &waiters, &Reply::Array(vec![]), 0);
        let holders = seen.expect("well formed").holders;
        assert_eq!(holders.len(), 1);
        assert_eq!((holders[0].id.as_str(), holders[0].holds), ("u:7", 2));
    }
}
