use super::*;
use crate::engine::transport::fake::{
    Fake, Told, at, cluster, dial, fleet, layout, nobodys_port, sink, until,
};

fn taken(told: &Told) -> Vec<Signal> {
    std::mem::take(&mut *lock(told))
}

#[tokio::test]
async fn only_news_of_a_layout_are_told() {
    let (one, other) = (nobodys_port().await, 2);
    let whole = [(one, 1, "0-16383"), (other, 1, "")];
    let fleet = cluster(&whole);
    let (sink, told) = sink();
    fleet.start(sink);
    let gone = fleet.open(&at(other)).expect("known").id;
    for _ in 0..2 {
        assert!(!fleet.adopt(&layout(&whole)));
        assert_eq!(taken(&told), []);
    }
    // The slots of one are those of the other.
    assert!(fleet.adopt(&layout(&[(one, 1, "0-100"), (other, 1, "101-16383")])));
    assert_eq!(taken(&told), [Signal::Moved]);
    let home = |slot| fleet.chart.borrow().home(slot).map(|node| node.id);
    assert_eq!(home(101), Some(gone));
    assert_ne!(home(100), Some(gone));
    // Slots that nobody has are news as well.
    assert!(fleet.adopt(&layout(&[(one, 1, "0-100")])));
    assert_eq!(taken(&told), [Signal::Moved, Signal::Gone { node: gone }]);
    assert_eq!(home(101), None);
    fleet.shut();
    assert!(!fleet.adopt(&layout(&whole)), "closed");
}

#[tokio::test]
async fn a_later_election_changes_the_master_only_where_it_is_another() {
    let config = dial(2);
    let node = Node::new(&config, &Settings::default(), PubSub::Plain, None);
    let mut fleet = fleet(&config, Chart::One(node.clone()), PubSub::Plain);
    fleet.topology = Topology::Sentinel;
    let (sink, told) = sink();
    fleet.start(sink);
    let master = || fleet.chart.borrow().home(0).map(|node| node.id);
    fleet.succeed(&at(2), 7);
    assert_eq!((fleet.election(), master()), (7, Some(node.id)));
    assert_eq!(taken(&told), []);
    fleet.succeed(&at(3), 8);
    assert_eq!(fleet.election(), 8);
    assert_ne!(master(), Some(node.id));
    let gone = Signal::Gone { node: node.id };
    assert_eq!(taken(&told), [Signal::Moved, gone]);
    let last = master();
    fleet.shut();
    fleet.succeed(&at(4), 9);
    assert_eq!(master(), last, "closed");
}

#[tokio::test]
async fn a_connection_that_ends_speaks_for_another_look_and_one_that_begins_does_not() {
    let server = Fake::usual().await;
    let fleet = cluster(&[(server.port, 1, "0-16383")]);
    let (sink, told) = sink();
    assert!(!fleet.is_open());
    fleet.start(sink);
    until("both are there", || lock(&told).len() == 2).await;
    let doubts = fleet.doubts();
    assert!(fleet.is_open());
    assert!(!doubts.has_changed().expect("a fleet"));
    server.hang_up();
    until("told", || taken(&told).iter().any(Signal::is_down)).await;
    assert!(doubts.has_changed().expect("a fleet"));
    fleet.shut();
}

#[tokio::test]
async fn a_fleet_that_is_shut_opens_nothing_and_ends_its_tasks() {
    let fleet = cluster(&[(2, 1, "0-16383")]);
    let (sink, _) = sink();
    fleet.start(sink);
    lock(&fleet.tasks).push(tokio::spawn(std::future::pending()));
    assert!(!fleet.is_closed());
    let tasks = fleet.shut();
    assert!(fleet.is_closed());
    assert!(matches!(fleet.open(&at(3)), Err(Fault::Closed)));
    for task in tasks {
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
    }
    assert_eq!(lock(&fleet.tasks).len(), 0);
}
