//! Which releases are kept in mind.

use super::*;
use crate::lock::{Reentrant, kind::sealed::Sealed};

#[tokio::test]
async fn the_last_releases_are_kept_and_no_others() {
    let recent = Recent::default();
    let note = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let call = Call::example(Reentrant::protocol(), u64::from(number));
            recent.note(&call, number);
        }
        let kept = recent.take();
        let numbers: Vec<_> = kept.iter().map(|release| release.most).collect();
        numbers
    };
    assert_eq!(note(0..3), [0, 1, 2]);
    assert_eq!(note(0..0), [0; 0], "taken");
    let many = MOST as u32 + 2;
    assert_eq!(note(0..many), (2..many).collect::<Vec<_>>());
}
