//! Whether this user may do what locks take, by the library's own test.

use redlatch::{Error, access::Feature};

use super::{Finding, Weight};
use crate::{exit::Failure, server::Server};

pub(super) async fn examine(server: &Server, prefix: &str) -> Result<Vec<Finding>, Failure> {
    // What only some servers know is asked for where it is used.
    let left_out = [
        Feature::Database,
        Feature::Replicas,
        Feature::ReplicasOnDisk,
        Feature::ShardedMessages,
        Feature::Cluster,
    ];
    let all = Feature::ALL.iter().copied();
    let features = all.filter(|feature| !left_out.contains(feature));
    let cluster = server.is_cluster.then_some(Feature::Cluster);
    match server
        .client
        .self_test_under(prefix, features.chain(cluster))
        .await
    {
        Ok(()) => Ok(Vec::new()),
        Err(Error::MissingRights { rights, .. }) => Ok(vec![Finding::new(
            Weight::Problem,
            "rights",
            "this user",
            format!("lacks {}", rights.join(" ")),
            "ACL SETUSER with these words, or with those of docs/operations.md for what is used",
        )]),
        Err(error) => Err(error.into()),
    }
}
