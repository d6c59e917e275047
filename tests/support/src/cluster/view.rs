//! How one node sees the cluster.

use super::slot::SLOTS;

/// One line of `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) is_master: bool,
    /// Whether it is thought to have failed, or not to be known well enough.
    pub(super) in_doubt: bool,
    /// The master of a replica.
    pub(super) master: Option<String>,
    pub(super) epoch: u64,
    pub(super) connected: bool,
    /// The first and the last of each range of slots.
    pub(super) slots: Vec<(u16, u16)>,
}

/// What `CLUSTER NODES` says on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The node itself.
    pub(super) own: Member,
    /// The others.
    pub(super) others: Vec<Member>,
}

impl View {
    pub(super) fn parse(text: &str) -> Option<View> {
        let mut own = None;
        let mut others = Vec::new();
        for line in text.lines() {
            let (member, is_own) = parse_line(line)?;
            if is_own {
                own = Some(member);
            } else {
                others.push(member);
            }
        }
        own.map(|own| View { own, others })
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.own).chain(&self.others)
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members().find(|member| member.id == id)
    }

    /// The ranges of slots with the node that serves each, in order.
    pub(super) fn ranges(&self) -> Vec<(u16, u16, &str)> {
        let mut ranges: Vec<_> = self
            .members()
            .flat_map(|member| {
                let ranges = member.slots.iter();
                ranges.map(|&(first, last)| (first, last, member.id.as_str()))
            })
            .collect();
        ranges.sort_unstable();
        ranges
    }

    /// How many slots are served by somebody.
    pub(super) fn covered(&self) -> u16 {
        self.members().map(Member::slot_count).sum()
    }
}

impl Member {
    pub(super) fn serves(&self, slot: u16) -> bool {
        let mut ranges = self.slots.iter();
        ranges.any(|&(first, last)| (first..=last).contains(&slot))
    }

    pub(super) fn slot_count(&self) -> u16 {
        let lengths = self.slots.iter().map(|&(first, last)| last - first + 1);
        lengths.sum()
    }
}

/// One line, and whether it is about the node that was asked.
fn parse_line(line: &str) -> Option<(Member, bool)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [
        id,
        _address,
        flags,
        master,
        _ping,
        _pong,
        epoch,
        link,
        slots @ ..,
    ] = &words[..]
    else {
        return None;
    };
    let flag = |name: &str| flags.split(',').any(|flag| flag == name);
    let slots = slots
        .iter()
        // In brackets: a slot on its way to or from the node.
        .filter(|word| !word.is_empty() && !word.starts_with('['))
        .map(|word| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let range = (first.parse().ok()?, last.parse().ok()?);
            (range.0 <= range.1 && range.1 < SLOTS).then_some(range)
        })
        .collect::<Option<_>>()?;
    let member = Member {
        id: (*id).to_owned(),
        is_master: flag("master"),
        in_doubt: ["fail", "fail?", "handshake", "noaddr"]
            .into_iter()
            .any(flag),
        master: (*master != "-").then(|| (*master).to_owned()),
        epoch: epoch.parse().ok()?,
        connected: *link == "connected",
        slots,
    };
    Some((member, flag("myself")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
aa 127.0.0.1:7000@17000,host myself,master - 0 0 3 connected 0-99 200 [77->-bb] [300-<-bb]
bb 127.0.0.1:7001@17001 master,fail? - 0 1 2 disconnected 100-199
cc 127.0.0.1:7002@17002 slave aa 0 1 3 connected
";

    #[test]
    fn a_view_tells_who_serves_what() {
        let view = View::parse(TEXT).expect("the text is well formed");
        assert_eq!(view.own.id, "aa");
        assert!(view.own.serves(200) && view.own.serves(77) && !view.own.serves(300));
        assert_eq!(
            view.ranges(),
            [(0, 99, "aa"), (100, 199, "bb"), (200, 200, "aa")]
        );
        assert_eq!(view.covered(), 201);
        let replica = view.member("cc").expect("it is there");
        assert_eq!(replica.master.as_deref(), Some("aa"));
        assert!(!replica.is_master && !replica.in_doubt && replica.connected);
        let lost = view.member("bb").expect("it is there");
        assert!(lost.in_doubt && !lost.connected);
    }

    #[test]
    fn a_line_cut_short_is_no_view() {
        assert_eq!(View::parse("aa 127.0.0.1:7000@17000 myself"), None);
        assert_eq!(View::parse(""), None);
    }
}
