//! Clients: the two locks and what they need.

use std::time::Duration;

use envoy_config::Problem;
use envoy_config::error::HoldRule;
use envoy_config::sidecar::{Hedge, Hold, Retry, SanMatchers, UpstreamTls};

use crate::support::{client, client_refused, problems, retry, sds, upstream, upstream_refused};

#[test]
fn the_hold_excludes_hedging() {
    let problem = upstream_refused("retry.hedge", |upstream| {
        upstream.retry = Some(Retry {
            hedge: Hedge::OnPerTryTimeout,
            ..retry()
        });
    });
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::NoHedging
            }
        ),
        "{problem:?}"
    );
}

#[test]
fn the_hold_excludes_per_try_timeouts_below_20_ms() {
    let problem = upstream_refused("retry.perTryTimeout", |upstream| {
        let per_try_timeout = Some(Duration::from_millis(19));
        upstream.retry = Some(Retry {
            per_try_timeout,
            ..retry()
        });
    });
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::PerTryTimeout
            }
        ),
        "{problem:?}"
    );
    let mut client = client();
    client.upstreams[0].retry = Some(retry());
    assert!(client.bootstrap().is_ok(), "20 ms are accepted");
}

#[test]
fn without_the_hold_both_are_accepted() {
    let mut client = client();
    client.filter = None;
    client.upstreams[0].hold = Hold::Off;
    let per_try_timeout = Some(Duration::from_millis(1));
    client.upstreams[0].retry = Some(Retry {
        hedge: Hedge::OnPerTryTimeout,
        per_try_timeout,
        ..retry()
    });
    assert!(client.bootstrap().is_ok());
}

#[test]
fn the_hold_needs_tls() {
    let problem = upstream_refused("tls", |upstream| {
        upstream.tls = UpstreamTls::Plaintext;
        upstream.san_matchers = SanMatchers::Off;
    });
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::NeedsTls
            }
        ),
        "{problem:?}"
    );
}

#[test]
fn the_hold_needs_the_filter_and_the_filter_the_hold() {
    let problem = client_refused("upstreams[0].hold", |client| client.filter = None);
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::NeedsFilter
            }
        ),
        "{problem:?}"
    );
    let problem = client_refused("filter", |client| client.upstreams[0].hold = Hold::Off);
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
}

#[test]
fn matchers_without_tls_are_refused() {
    let problem = client_refused("upstreams[0].sanMatchers", |client| {
        client.filter = None;
        client.upstreams[0].hold = Hold::Off;
        client.upstreams[0].tls = UpstreamTls::Plaintext;
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
}

#[test]
fn a_plaintext_listener_beyond_loopback_is_refused() {
    let problem = client_refused("listen", |client| {
        client.listen = "0.0.0.0:80".parse().unwrap()
    });
    assert!(
        matches!(problem, Problem::NotLoopback { .. }),
        "{problem:?}"
    );
}

#[test]
fn names_are_not_the_agents_and_not_twice() {
    let problem = upstream_refused("name", |upstream| {
        upstream.name = "countersign_agent_http".to_owned();
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem:?}");
    let found = problems({
        let mut client = client();
        client.upstreams.push(upstream());
        client.bootstrap()
    });
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["upstreams[1].name", "upstreams[1].hosts[0]"]);
    assert!(
        found
            .iter()
            .all(|(_, problem)| matches!(problem, Problem::Duplicate { .. }))
    );
}

#[test]
fn one_envoy_has_one_agent() {
    let problem = client_refused("upstreams[1].tls.socketPath", |client| {
        let mut second = upstream();
        second.name = "second".to_owned();
        second.hosts = vec!["second".to_owned()];
        second.tls = UpstreamTls::Mutual(sds("/other.sock"));
        client.upstreams.push(second);
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
}
