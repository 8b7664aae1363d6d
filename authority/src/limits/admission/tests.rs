use std::time::Duration;

use super::*;

fn admission(running: usize, waiting: usize) -> Admission {
    Admission::new(Bounds {
        running,
        waiting,
        per_group: waiting,
        per_member: waiting,
        wait: Duration::from_millis(300),
    })
}

fn lane(group: &str) -> Lane {
    Lane {
        group: group.into(),
        member: "m".into(),
    }
}

async fn until_waiting(admission: &Admission, count: usize) {
    while admission.load().waiting != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_flood_of_one_namespace_does_not_hold_up_another_ones_request() {
    let admission = Admission::new(Bounds {
        running: 2,
        waiting: 200,
        per_group: 200,
        per_member: 200,
        wait: Duration::from_secs(60),
    });
    let mut flood = tokio::task::JoinSet::new();
    // Each piece of work takes 10 ms: alone, the flood would be done after a second.
    let work = |admission: Admission, of: &'static str| async move {
        let begun = Instant::now();
        let permit = admission.enter(lane(of), None).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(permit.unwrap());
        begun.elapsed()
    };
    for _ in 0..200 {
        flood.spawn(work(admission.clone(), "flood"));
    }
    until_waiting(&admission, 198).await;
    let quiet = work(admission.clone(), "quiet").await;
    let slowest = flood.join_all().await.into_iter().max().unwrap();
    // Whoever is worked on, one of the flood before it at most, and its own work: 30 ms, and
    // what a busy machine adds to that, against a second and more.
    assert!(slowest >= Duration::from_millis(900), "{slowest:?}");
    assert!(quiet * 4 < slowest, "{quiet:?} of {slowest:?}");
    assert_eq!(admission.load(), Load::default());
}

#[tokio::test]
async fn beyond_the_bound_requests_are_shed_with_a_time_to_come_again() {
    let admission = admission(1, 1);
    let held = admission.enter(lane("a"), None).await.unwrap();
    let second = tokio::spawn({
        let admission = admission.clone();
        async move { admission.enter(lane("a"), None).await.map(drop) }
    });
    until_waiting(&admission, 1).await;
    let mut hints = Vec::new();
    for _ in 0..100 {
        match admission.enter(lane("a"), None).await.map(drop) {
            Err(Overload::Full { retry_after, .. }) => hints.push(retry_after),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        hints
            .iter()
            .all(|hint| (FIRST_RETRY..=LAST_RETRY).contains(hint))
    );
    // In each fifteenth of the window some.
    for slice in 0..15 {
        let from = FIRST_RETRY + Duration::from_millis(100) * slice;
        let to = from + Duration::from_millis(100);
        let here = hints
            .iter()
            .filter(|hint| (from..to).contains(*hint))
            .count();
        assert!((3..=12).contains(&here), "{here} from {from:?}");
    }
    drop(held);
    second.await.unwrap().unwrap();
    assert_eq!(admission.load(), Load::default());
}

#[tokio::test]
async fn who_gives_up_leaves_and_who_waits_too_long_is_sent_away() {
    let admission = admission(1, 8);
    let held = admission.enter(lane("a"), None).await.unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    assert_eq!(
        admission.enter(lane("a"), Some(soon)).await.unwrap_err(),
        Overload::DeadlinePassed
    );
    assert_eq!(
        admission.enter(lane("a"), Some(soon)).await.unwrap_err(),
        Overload::DeadlinePassed
    );
    let waited = admission.enter(lane("b"), None).await.unwrap_err();
    assert!(matches!(waited, Overload::Waited { .. }), "{waited:?}");
    let hangs_up =
        tokio::time::timeout(Duration::from_millis(50), admission.enter(lane("c"), None));
    hangs_up.await.unwrap_err();
    assert_eq!(
        admission.load(),
        Load {
            running: 1,
            waiting: 0,
            groups: 0
        }
    );
    drop(held);
    assert_eq!(admission.load(), Load::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_is_lost_however_callers_come_and_go() {
    let admission = admission(3, 64);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0_u64..400 {
        let admission = admission.clone();
        callers.spawn(async move {
            let of = lane(["a", "b", "c"][usize::try_from(number % 3).unwrap()]);
            let patience = Duration::from_micros(number % 7 * 150);
            let entered = tokio::time::timeout(patience, admission.enter(of, None)).await;
            if let Ok(Ok(permit)) = entered {
                assert!(admission.load().running <= 3);
                tokio::time::sleep(Duration::from_micros(number % 5 * 100)).await;
                drop(permit);
            }
        });
    }
    callers.join_all().await;
    assert_eq!(admission.load(), Load::default());
}
