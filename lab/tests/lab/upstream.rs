//! The echo server and the client, each with the other.

use std::time::{Duration, Instant};

use lab::http::{Body, Connection, HttpError, Target, Version};
use lab::upstream::Echo;

#[tokio::test]
async fn answers_say_what_was_received_over_both_versions() {
    let echo = Echo::start().await.unwrap();
    let target = Target::from(echo.address());
    for (round, version) in [(0, Version::Http1), (1, Version::Http2)] {
        let mut connection = Connection::open(&target, None, version).await.unwrap();
        let request = connection
            .request("GET", "/get?a=b")
            .header("x-two", "1")
            .header("x-two", "2");
        let answer = connection
            .send(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert_eq!(
            (&json["method"], &json["path"]),
            (&"GET".into(), &"/get?a=b".into())
        );
        assert_eq!(json["headers"]["x-two"], serde_json::json!(["1", "2"]));
        assert_eq!(json["count"], round * 4 + 1);
        let answer = connection.post("/post", vec![0; 100_000]).await.unwrap();
        assert_eq!(answer.json()["bytes"], 100_000);
        assert_eq!(connection.get("/status/503").await.unwrap().status, 503);
        assert_eq!(connection.get("/status/99999").await.unwrap().status, 200);
    }
    assert_eq!(echo.requests(), 8);
}

#[tokio::test]
async fn delays_delay_and_limits_limit() {
    let echo = Echo::start().await.unwrap();
    let target = Target::from(echo.address());
    let mut connection = Connection::open(&target, None, Version::Http2)
        .await
        .unwrap();
    let begun = Instant::now();
    assert_eq!(connection.get("/delay/150").await.unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(150));
    let mut hasty = connection
        .share()
        .unwrap()
        .with_limit(Duration::from_millis(50));
    let error = hasty.get("/delay/5000").await.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { .. }), "{error}");
    assert_eq!(
        connection.get("/get").await.unwrap().status,
        200,
        "the connection lives on"
    );
}

#[tokio::test]
async fn a_dropped_server_ends_its_connections() {
    let echo = Echo::start().await.unwrap();
    let target = Target::from(echo.address());
    let mut connection = Connection::open(&target, None, Version::Http1)
        .await
        .unwrap();
    connection.get("/get").await.unwrap();
    drop(echo);
    connection.get("/get").await.unwrap_err();
    assert!(matches!(
        lab::http::get(&target, "/get").await,
        Err(HttpError::Connect { .. })
    ));
}

#[tokio::test]
async fn a_body_can_trickle_and_end_with_trailers() {
    let echo = Echo::start().await.unwrap();
    let target = Target::from(echo.address());
    let mut connection = Connection::open(&target, None, Version::Http2)
        .await
        .unwrap();
    let trailers = [("x-checksum".parse().unwrap(), "abc".parse().unwrap())];
    let pause = Duration::from_millis(30);
    let body = Body::trickle(
        ["one", "two", "three"],
        pause,
        Some(trailers.into_iter().collect()),
    );
    let begun = Instant::now();
    let request = connection.request("POST", "/post").body(body).unwrap();
    let answer = connection.send(request).await.unwrap().json();
    assert!(begun.elapsed() >= pause * 3);
    assert_eq!(answer["bytes"], 11);
    assert_eq!(answer["trailers"]["x-checksum"], serde_json::json!(["abc"]));
    assert!(
        answer["headers"].get("content-length").is_none(),
        "{answer}"
    );
}
