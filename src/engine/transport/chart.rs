//! Which server has which slot, as the nodes of a cluster say it. Pure: text in, a layout out.

use std::collections::HashMap;

/// Slots in a cluster.
pub(super) const SLOTS: usize = 16_384;

/// Masters in a view; a cluster is not meant to have more nodes.
const MOST_MASTERS: usize = 1_000;

/// The slot of a key or channel.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    fred::util::redis_keyslot(key)
}

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads `host:port`; an empty host means the one who said it.
    pub(super) fn parse(text: &str, said_by: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            host: if host.is_empty() || host == "?" {
                said_by.to_owned()
            } else {
                host.to_owned()
            },
            port: port.parse().ok().filter(|port| *port > 0)?,
        })
    }
}

/// Where a server sends us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot is there for good. Nothing was executed.
    Moved { slot: u16, to: Address },
    /// This key is there already, or would be. Nothing was executed.
    Ask { to: Address },
    /// The keys of a request are on both sides of a move. Nothing was executed.
    TryAgain,
}

impl Redirect {
    /// Reads `MOVED slot host:port`, `ASK slot host:port` and `TRYAGAIN ...`.
    pub(super) fn parse(text: &str, said_by: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let word = words.next()?;
        if word == "TRYAGAIN" {
            return Some(Self::TryAgain);
        }
        let slot = words
            .next()?
            .parse()
            .ok()
            .filter(|slot| *slot < SLOTS as u16)?;
        let to = Address::parse(words.next()?, said_by)?;
        match word {
            "MOVED" => Some(Self::Moved { slot, to }),
            "ASK" => Some(Self::Ask { to }),
            _ => None,
        }
    }
}

/// A master in one node's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    address: Address,
    /// The same server under the address that redirections name.
    numeric: Address,
    /// The higher claim to a slot counts.
    epoch: u64,
    slots: Vec<(u16, u16)>,
}

/// Reads the masters from a reply to `CLUSTER NODES`. With `names`, servers that announce a host name are reached by it.
pub(super) fn claims(text: &str, said_by: &str, names: bool) -> Vec<Claim> {
    text.lines()
        .filter_map(|line| claim(line, said_by, names))
        .take(MOST_MASTERS)
        .collect()
}

fn claim(line: &str, said_by: &str, names: bool) -> Option<Claim> {
    let mut fields = line.split(' ');
    let (_id, address, flags) = (fields.next()?, fields.next()?, fields.next()?);
    let flag = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
    if !flag("master") || flag("noaddr") || flag("handshake") {
        return None;
    }
    let epoch = fields.by_ref().nth(3)?.parse().ok()?;
    let _link_state = fields.next()?;
    let (socket, aux) = address.split_once('@')?;
    let numeric = Address::parse(socket, said_by)?;
    let host_name = aux.split(',').nth(1).filter(|name| !name.is_empty());
    let address = match host_name.filter(|_| names) {
        Some(name) => Address {
            host: name.to_owned(),
            port: numeric.port,
        },
        None => numeric.clone(),
    };
    // Slots on their way are in brackets; they belong to whom they are leaving.
    let slots: Vec<_> = fields
        .filter(|range| !range.starts_with('['))
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last && usize::from(last) < SLOTS).then_some((first, last))
        })
        .collect();
    // One that died and was replaced is kept in the list; nobody need wait for it.
    if slots.is_empty() && flag("fail") {
        return None;
    }
    Some(Claim {
        address,
        numeric,
        epoch,
        slots,
    })
}

/// Who has which slot, by the views of several nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// All masters, those without slots included.
    pub(super) masters: Vec<Address>,
    /// How redirections call them, where that differs.
    pub(super) aliases: HashMap<Address, Address>,
    /// For each slot its master by number.
    pub(super) owners: Vec<Option<u16>>,
}

impl Layout {
    /// Each slot belongs to the master with the highest epoch that any view gives it to.
    pub(super) fn merge(views: &[Vec<Claim>]) -> Self {
        let mut layout = Self {
            masters: Vec::new(),
            aliases: HashMap::new(),
            owners: vec![None; SLOTS],
        };
        let mut epochs = vec![0; SLOTS];
        let mut numbers: HashMap<Address, u16> = HashMap::new();
        for claim in views.iter().flatten() {
            if claim.address != claim.numeric {
                let numeric = claim.numeric.clone();
                layout.aliases.insert(numeric, claim.address.clone());
            }
            let number = *numbers.entry(claim.address.clone()).or_insert_with(|| {
                layout.masters.push(claim.address.clone());
                u16::try_from(layout.masters.len() - 1).unwrap_or(u16::MAX)
            });
            for (first, last) in &claim.slots {
                for slot in usize::from(*first)..=usize::from(*last) {
                    if let (Some(owner), Some(epoch)) =
                        (layout.owners.get_mut(slot), epochs.get_mut(slot))
                        && (owner.is_none() || claim.epoch > *epoch)
                    {
                        (*owner, *epoch) = (Some(number), claim.epoch);
                    }
                }
            }
        }
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    const VIEW: &str = "\
aa 127.0.0.1:7000@17000,one.example myself,master - 0 1 1 connected 0-99 200 [100-<-bb]
bb 10.0.0.2:7001@17001 master - 0 1 3 connected 100-199 [7-migrating]
cc 10.0.0.3:7002@17002 slave bb 0 1 3 connected
dd :0@0 master,noaddr - 0 1 9 disconnected 300
ee 10.0.0.5:7004@17004 master,fail - 0 1 2 connected 201-300
ff :7005@17005,,shard-id=1 master - 0 1 4 connected
gg 10.0.0.6:7006@17006 master,fail - 0 1 2 disconnected
";

    #[test]
    fn masters_and_slots_are_read() {
        let layout = Layout::merge(&[claims(VIEW, "seed", true)]);
        assert_eq!(
            layout.masters,
            [
                at("one.example", 7000),
                at("10.0.0.2", 7001),
                at("10.0.0.5", 7004),
                at("seed", 7005)
            ]
        );
        assert_eq!(
            layout.aliases.get(&at("127.0.0.1", 7000)),
            Some(&at("one.example", 7000))
        );
        let owner = |slot: usize| layout.owners[slot];
        assert_eq!(
            [owner(0), owner(200), owner(100), owner(250)],
            [Some(0), Some(0), Some(1), Some(2)]
        );
        assert_eq!(owner(301), None);
        assert_eq!(claims("nonsense\n\n", "seed", false), []);
    }

    #[test]
    fn the_higher_epoch_counts_whoever_says_it() {
        let old = "aa 1.1.1.1:1@11 myself,master - 0 1 5 connected 0-10\nbb 2.2.2.2:2@12 master - 0 1 2 connected 11";
        let new = "bb 2.2.2.2:2@12 myself,master - 0 1 6 connected 5-11\naa 1.1.1.1:1@11 master - 0 1 5 connected 0-4";
        for views in [[old, new], [new, old]] {
            let views = views.map(|view| claims(view, "", false));
            let layout = Layout::merge(&views);
            let owner = |slot: usize| {
                let number = layout.owners[slot].expect("owned");
                layout.masters[usize::from(number)].port
            };
            assert_eq!([owner(4), owner(5), owner(10), owner(11)], [1, 2, 2, 2]);
        }
    }

    #[test]
    fn where_epochs_are_equal_the_first_who_says_so_counts() {
        let one = "aa 1.1.1.1:1@11 myself,master - 0 1 5 connected 0-10";
        let other = "bb 2.2.2.2:2@12 myself,master - 0 1 5 connected 5-16383 16384";
        for (views, due) in [([one, other], 1), ([other, one], 2)] {
            let layout = Layout::merge(&views.map(|view| claims(view, "", false)));
            let owner = layout.owners[7].expect("owned");
            assert_eq!(layout.masters[usize::from(owner)].port, due);
            assert_eq!(layout.owners.len(), SLOTS);
            assert!(layout.owners[SLOTS - 1].is_some());
        }
    }

    #[test]
    fn slots_that_there_are_not_are_nobodys() {
        let slots = |ranges: &str| {
            let line = format!("aa 1.1.1.1:1@11 master,fail - 0 1 5 connected {ranges}");
            claim(&line, "", false).map(|claim| claim.slots)
        };
        assert_eq!(slots("16383"), Some(vec![(16_383, 16_383)]));
        assert_eq!(slots("0-16384 7"), Some(vec![(7, 7)]));
        // One that died and has none need not be waited for.
        for ranges in ["16384", "9-3", "16390-16391", "x", ""] {
            assert_eq!(slots(ranges), None, "{ranges}");
        }
    }

    #[test]
    fn redirections_are_read() {
        let parse = |text| Redirect::parse(text, "me");
        assert_eq!(
            parse("MOVED 7 10.0.0.1:7001"),
            Some(Redirect::Moved {
                slot: 7,
                to: at("10.0.0.1", 7001)
            })
        );
        assert_eq!(
            parse("ASK 16383 ::1:7001"),
            Some(Redirect::Ask {
                to: at("::1", 7001)
            })
        );
        assert_eq!(
            parse("ASK 1 :7001"),
            Some(Redirect::Ask { to: at("me", 7001) })
        );
        assert_eq!(parse("TRYAGAIN Multiple keys"), Some(Redirect::TryAgain));
        for text in [
            "MOVED",
            "MOVED 16384 a:1",
            "MOVED 1 a",
            "ASK 1 a:0",
            "ERR no",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
