use serde_json::json;

use super::*;

fn status(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn user(name: &str) -> Value {
    json!({"username": name, "uid": "u-1", "extra": {
        "authentication.kubernetes.io/pod-name": ["api-0"],
        "authentication.kubernetes.io/pod-uid": ["p-1"],
        "authentication.kubernetes.io/node-name": ["n1"],
    }})
}

#[test]
fn a_review_is_good_only_if_it_says_so_for_our_audience() {
    let ours = ["istio-ca".to_owned()];
    let account = "system:serviceaccount:payments:api";
    let good = json!({"authenticated": true, "audiences": ["istio-ca"], "user": user(account)});
    let found = outcome(&status(good), &ours).unwrap();
    assert_eq!(
        (found.namespace.as_str(), found.name.as_str()),
        ("payments", "api")
    );
    assert_eq!(
        found.selectors("east"),
        [
            "k8s:cluster:east",
            "k8s:ns:payments",
            "k8s:sa:api",
            "k8s:sa-uid:u-1",
            "k8s:pod-name:api-0",
            "k8s:pod-uid:p-1",
            "k8s:node-name:n1",
        ]
    );
    for (bad, fault) in [
        (json!({}), TokenFault::NotReviewed),
        (
            json!({"authenticated": false, "audiences": ["istio-ca"], "user": user(account)}),
            TokenFault::NotReviewed,
        ),
        (
            json!({"authenticated": "true", "audiences": ["istio-ca"], "user": user(account)}),
            TokenFault::NotReviewed,
        ),
        (
            json!({"authenticated": true, "user": user(account)}),
            TokenFault::Audience,
        ),
        (
            json!({"authenticated": true, "audiences": [], "user": user(account)}),
            TokenFault::Audience,
        ),
        (
            json!({"authenticated": true, "audiences": ["api"], "user": user(account)}),
            TokenFault::Audience,
        ),
        (
            json!({"authenticated": true, "audiences": ["istio-ca"]}),
            TokenFault::NotReviewed,
        ),
    ] {
        assert_eq!(outcome(&status(bad.clone()), &ours), Err(fault), "{bad}");
    }
    for name in [
        "",
        "admin",
        "system:serviceaccount:payments",
        "system:serviceaccount::api",
        "system:serviceaccount:a/b:api",
        "system:serviceaccount:payments:../x",
        "system:serviceaccount:payments:api:more",
        "system:serviceaccount:Payments:api",
    ] {
        let other = json!({"authenticated": true, "audiences": ["istio-ca"], "user": user(name)});
        let fault = outcome(&status(other), &ours);
        assert!(
            matches!(fault, Err(TokenFault::NotServiceAccount { .. })),
            "{name:?}: {fault:?}"
        );
    }
}

#[test]
fn what_is_remembered_is_bounded_and_ends() {
    let at = UnixTime::from_secs;
    let mut known = Remembered::default();
    let key = |number: usize| hash(&number.to_string());
    known.insert(key(0), Err(TokenFault::NotReviewed), at(10));
    assert!(known.get(&key(0), at(9)).is_some());
    assert!(known.get(&key(0), at(10)).is_none());
    for number in 0..2 * MOST_REMEMBERED {
        known.insert(key(number), Err(TokenFault::NotReviewed), at(10));
    }
    assert!(known.newer.len() + known.older.len() <= MOST_REMEMBERED);
    assert!(known.get(&key(2 * MOST_REMEMBERED - 1), at(0)).is_some());
    assert!(known.get(&key(0), at(0)).is_none());
}
