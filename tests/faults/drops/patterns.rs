//! Elections, and jobs that run once a period.

use redlatch::{Leadership, Result};

use super::Drops;
use crate::kit::{ms, secs};

pub(super) async fn all(drops: &mut Drops) {
    elections(drops).await;
    jobs(drops).await;
}

async fn elections(drops: &mut Drops) {
    let election = drops.client.election("election");
    // Its counter outlives it by design, and is there from now on.
    let leadership = election.campaign("x").await.expect("leads");
    leadership.resign().await.expect("leads");
    silent(drops).await;
    let name = "election/mod.rs Campaign";
    let make = async || election.campaign("x").wait(ms(30)).into_future();
    drops.each(name, make, async |_, got| drop(got)).await;
    let name = "election/mod.rs leader";
    let make = async || election.leader();
    drops.each(name, make, async |_, _| ()).await;
    let leads = async || election.campaign("x").await.expect("leads");
    let make = async || {
        let leadership = leads().await;
        async move { leadership.proclaim("y").await }
    };
    let name = "election/leadership.rs proclaim";
    drops.each(name, make, async |_, _| ()).await;
    let make = async || leads().await.resign();
    let name = "election/leadership.rs resign";
    drops.each(name, make, async |_, _| ()).await;
    let kept = |leadership: Leadership| async move { leadership.lost().await };
    let make = async || kept(leads().await);
    let name = "election/leadership.rs lost";
    drops.each(name, make, async |_, _| ()).await;
    let make = async || {
        let leadership = leads().await;
        async move { leadership.run(tokio::task::yield_now()).await }
    };
    let name = "election/leadership.rs run";
    drops
        .each(name, make, async |_, got: Option<Result<()>>| {
            assert!(got.is_none_or(|got| got.is_ok()));
        })
        .await;
    // Somebody who says nothing, and has no task for it.
    let rival = drops.other.fenced_lock("election");
    let guard = rival.lock().await.expect("free");
    let name = "election/mod.rs Campaign, busy";
    let make = async || election.campaign("x").wait(ms(30)).into_future();
    drops.each(name, make, async |_, got| drop(got)).await;
    guard.unlock().await.expect("held");
}

/// Waits until what the last leader said is gone, which is taken back in the background.
async fn silent(drops: &Drops) {
    let direct = drops.direct.clone();
    redlatch_support::eventually_async("it is taken back", secs(5), async || {
        !direct.exists("redlatch_election:{election}")
    })
    .await;
}

async fn jobs(drops: &mut Drops) {
    let direct = drops.direct.clone();
    let job = drops.client.once_per("job", secs(60));
    let name = "schedule.rs run_if_due";
    let make = async || job.run_if_due(tokio::task::yield_now());
    // What has been sent may be noted; it is by the time that a later question is answered.
    let tidy = async || {
        job.due_in().await.expect("answers");
        direct.cmd(&["DEL", "redlatch_schedule:{job}"]).accepted();
    };
    drops.each(name, make, async |_, _| tidy().await).await;
    let name = "schedule.rs due_in";
    let make = async || job.due_in();
    drops.each(name, make, async |_, _| ()).await;
}
