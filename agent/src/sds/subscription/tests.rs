use std::{cell::RefCell, sync::Arc};

use envoy_types::pb::google::rpc::Status;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{sds::secret::Why, world::Roots};

/// Secrets by name: `None` is not there yet, a name that is missing is refused.
#[derive(Default)]
struct Shelf(RefCell<BTreeMap<&'static str, Option<&'static str>>>);

impl Shelf {
    fn put(&self, name: &'static str, content: impl Into<Option<&'static str>>) {
        self.0.borrow_mut().insert(name, content.into());
    }

    fn resolve(&self, name: &str) -> Resolution {
        match self.0.borrow().get(name) {
            None => Resolution::Refused(Refusal {
                name: name.to_owned(),
                why: Why::Unknown,
            }),
            Some(None) => Resolution::Pending,
            Some(Some(content)) => Resolution::Ready(Material::Roots(Arc::new(Roots {
                trust_domain: "cluster.local".to_owned(),
                root_pem: (*content).to_owned(),
                count: 1,
                list_keys: Vec::new(),
            }))),
        }
    }
}

fn request(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.iter().map(|&name| name.to_owned()).collect(),
        type_url: Secret::type_url(),
        ..DiscoveryRequest::default()
    }
}

fn ack(names: &[&str], response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..request(names)
    }
}

fn nack(names: &[&str], response: &DiscoveryResponse, message: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        response_nonce: response.nonce.clone(),
        error_detail: Some(Status {
            message: message.to_owned(),
            ..Status::default()
        }),
        ..request(names)
    }
}

fn names_in(response: &DiscoveryResponse) -> Vec<String> {
    response
        .resources
        .iter()
        .map(|any| Secret::decode(any.value.as_slice()).unwrap().name)
        .collect()
}

/// The next response, which must be due.
fn due(subscription: &mut Subscription, shelf: &Shelf) -> DiscoveryResponse {
    subscription
        .respond(|name| shelf.resolve(name))
        .unwrap()
        .expect("a response is due")
}

/// No response may be due.
fn silent(subscription: &mut Subscription, shelf: &Shelf) {
    let response = subscription.respond(|name| shelf.resolve(name)).unwrap();
    assert_eq!(response, None);
}

#[test]
fn answers_once_and_not_again_after_an_ack() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("default", "one");
    silent(&mut stream, &shelf);
    assert_eq!(stream.hear(&request(&["default"])), Ok(Heard::Subscribed));
    let first = due(&mut stream, &shelf);
    assert_eq!(first.type_url, Secret::type_url());
    assert!(!first.version_info.is_empty() && !first.nonce.is_empty());
    silent(&mut stream, &shelf);
    assert_eq!(stream.hear(&ack(&["default"], &first)), Ok(Heard::Accepted));
    silent(&mut stream, &shelf);
}

#[test]
fn pushes_a_rotated_secret_under_a_new_version_and_nonce() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("default", "one");
    stream.hear(&request(&["default"])).unwrap();
    let first = due(&mut stream, &shelf);
    stream.hear(&ack(&["default"], &first)).unwrap();
    shelf.put("default", "two");
    let second = due(&mut stream, &shelf);
    assert_ne!(second.version_info, first.version_info);
    assert_ne!(second.nonce, first.nonce);
    // Back to the first content: the first version again.
    shelf.put("default", "one");
    assert_eq!(due(&mut stream, &shelf).version_info, first.version_info);
}

#[test]
fn does_not_send_again_what_was_rejected_until_it_changes() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("default", "broken");
    stream.hear(&request(&["default"])).unwrap();
    let broken = due(&mut stream, &shelf);
    assert_eq!(
        stream.hear(&nack(&["default"], &broken, "bad key")),
        Ok(Heard::Rejected {
            message: "bad key".to_owned(),
            keeps: String::new()
        })
    );
    silent(&mut stream, &shelf);
    shelf.put("default", "mended");
    let mended = due(&mut stream, &shelf);
    assert_eq!(
        stream.hear(&ack(&["default"], &mended)),
        Ok(Heard::Accepted)
    );
}

#[test]
fn an_answer_to_an_earlier_response_changes_nothing() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("a", "one");
    stream.hear(&request(&["a"])).unwrap();
    let first = due(&mut stream, &shelf);
    shelf.put("a", "two");
    let second = due(&mut stream, &shelf);
    assert_eq!(stream.hear(&ack(&[], &first)), Ok(Heard::Outdated));
    shelf.put("a", "three");
    let third = due(&mut stream, &shelf);
    assert_eq!(stream.hear(&ack(&["a"], &second)), Ok(Heard::Outdated));
    assert_eq!(stream.hear(&ack(&["a"], &third)), Ok(Heard::Accepted));
}

#[test]
fn serves_several_names_and_waits_for_none_of_them() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("ROOTCA", "root");
    shelf.put("default", None);
    stream.hear(&request(&["default", "ROOTCA"])).unwrap();
    let first = due(&mut stream, &shelf);
    assert_eq!(names_in(&first), ["ROOTCA"]);
    shelf.put("default", "leaf");
    let second = due(&mut stream, &shelf);
    assert_eq!(names_in(&second), ["ROOTCA", "default"]);
}

#[test]
fn a_name_left_out_is_not_pushed_and_a_name_taken_up_again_is_sent_again() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("a", "1");
    shelf.put("b", "1");
    stream.hear(&request(&["a", "b"])).unwrap();
    let both = due(&mut stream, &shelf);
    stream.hear(&ack(&["a"], &both)).unwrap();
    silent(&mut stream, &shelf);
    shelf.put("b", "2");
    silent(&mut stream, &shelf);
    stream.hear(&ack(&["a", "b"], &both)).unwrap();
    let again = due(&mut stream, &shelf);
    assert_eq!(names_in(&again), ["a", "b"]);
    // Also when nothing has changed meanwhile.
    stream.hear(&ack(&[], &again)).unwrap();
    silent(&mut stream, &shelf);
    stream.hear(&ack(&["b"], &again)).unwrap();
    assert_eq!(names_in(&due(&mut stream, &shelf)), ["b"]);
}

#[test]
fn a_first_request_with_a_version_from_an_earlier_stream_is_answered() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("a", "1");
    stream.hear(&request(&["a"])).unwrap();
    let earlier = due(&mut stream, &shelf);
    let mut stream = Subscription::default();
    assert_eq!(stream.hear(&ack(&["a"], &earlier)), Ok(Heard::Subscribed));
    assert_eq!(due(&mut stream, &shelf).version_info, earlier.version_info);
}

#[test]
fn an_unknown_name_ends_the_stream_and_is_named() {
    let (mut stream, shelf) = (Subscription::default(), Shelf::default());
    shelf.put("a", "1");
    stream.hear(&request(&["a", "b"])).unwrap();
    let refused = stream.respond(|name| shelf.resolve(name));
    assert_eq!(
        refused,
        Err(Refusal {
            name: "b".to_owned(),
            why: Why::Unknown
        })
    );
}

#[test]
fn refuses_other_types_and_endless_lists() {
    let mut stream = Subscription::default();
    let cluster = DiscoveryRequest {
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
        ..request(&["a"])
    };
    assert_eq!(
        stream.hear(&cluster),
        Err(RequestError::OtherType {
            found: cluster.type_url.clone()
        })
    );
    let many = vec!["a"; Subscription::MOST_NAMES + 1];
    assert_eq!(
        stream.hear(&request(&many)),
        Err(RequestError::TooManyNames { found: many.len() })
    );
}

/// What can happen to a stream.
#[derive(Clone, Debug)]
enum Event {
    Change(usize, Option<usize>),
    Ask(Vec<usize>),
    Reject,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_usize..3, proptest::option::of(0_usize..3)).prop_map(|(n, c)| Event::Change(n, c)),
        proptest::collection::vec(0_usize..3, 0..3).prop_map(Event::Ask),
        Just(Event::Reject),
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const CONTENTS: [&str; 3] = ["1", "2", "3"];

proptest! {
    /// Whatever happens: what was sent last for a subscribed name is its present content, nothing
    /// is sent that is not subscribed, and nothing is sent twice without a reason.
    #[test]
    fn the_peer_always_ends_up_with_the_present_secrets(
        events in proptest::collection::vec(event(), 0..40),
    ) {
        let (mut stream, shelf) = (Subscription::default(), Shelf::default());
        for name in NAMES {
            shelf.put(name, "1");
        }
        let mut last = DiscoveryResponse::default();
        let mut asked: BTreeSet<&str> = BTreeSet::new();
        let mut told: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for event in events {
            match event {
                Event::Change(name, content) => {
                    shelf.put(NAMES[name], content.map(|one| CONTENTS[one]));
                }
                Event::Ask(names) => {
                    asked = names.iter().map(|&one| NAMES[one]).collect();
                    told.retain(|name, _| asked.contains(name.as_str()));
                    let names: Vec<_> = asked.iter().copied().collect();
                    stream.hear(&ack(&names, &last)).unwrap();
                }
                Event::Reject => {
                    let names: Vec<_> = asked.iter().copied().collect();
                    stream.hear(&nack(&names, &last, "no")).unwrap();
                }
            }
            if let Some(response) = stream.respond(|name| shelf.resolve(name)).unwrap() {
                let mut news = false;
                for any in &response.resources {
                    let name = Secret::decode(any.value.as_slice()).unwrap().name;
                    prop_assert!(asked.contains(name.as_str()));
                    news |= told.insert(name, any.value.clone()) != Some(any.value.clone());
                }
                prop_assert!(news, "sent without a reason");
                prop_assert_ne!(&response.nonce, &last.nonce);
                last = response;
            }
            for name in &asked {
                if let Resolution::Ready(material) = shelf.resolve(name) {
                    let expected = pack_any(material.to_secret(name)).value;
                    prop_assert_eq!(told.get(*name), Some(&expected));
                }
            }
            prop_assert!(stream.respond(|name| shelf.resolve(name)).unwrap().is_none());
        }
    }
}
