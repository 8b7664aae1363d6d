//! `countersign doctor`: what it finds in a file and in a running Envoy is the library's business and
//! tested there; here is that it gets at both, and says so with its exit code.

use std::fs;
use std::path::Path;

use lab::envoy::{Envoy, Options};

use crate::world::Home;

fn golden() -> String {
    let path = "../envoy-config/tests/golden/server-files/envoy-1.40.yaml";
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[tokio::test]
async fn finds_nothing_in_what_envoy_config_writes() {
    let home = Home::new();
    home.write("envoy.yaml", golden());
    let file = home.path("envoy.yaml");
    let said = home
        .run(["doctor", "--config", file.to_str().unwrap()])
        .await
        .done()
        .stdout;
    assert_eq!(said.trim(), "nothing found");
}

#[tokio::test]
async fn names_what_undoes_a_check_and_where() {
    let home = Home::new();
    let text = golden();
    let weak = text.replace(
        "disable_stateless_session_resumption: true",
        "disable_stateless_session_resumption: false",
    );
    assert_ne!(text, weak, "the golden file says it otherwise now");
    let file = home.write("envoy.yaml", weak);
    let args = ["doctor", "-o", "json", "--config", file.to_str().unwrap()];
    let outcome = home.run(args).await;
    let said = outcome.fails(&["1 setting undoes a check"]).stdout;
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found[0]["weakness"], "resumption");
    assert!(
        found[0]["path"].as_str().unwrap().contains("listeners[0]"),
        "{found}"
    );
}

#[tokio::test]
async fn asks_a_running_envoy() {
    let home = Home::new();
    let socket = home.path("admin.sock");
    let mut server = envoy_config::sidecar::Server::new(
        "doctor",
        std::net::SocketAddr::from(([127, 0, 0, 1], lab::ports::free().unwrap())),
        envoy_config::address::Endpoint::Unix(home.path("app.sock")),
        envoy_config::tls::TlsSource::Sds {
            socket_path: home.path("agent.sock"),
            certificate: "default".to_owned(),
            validation: "ROOTCA".to_owned(),
        },
    );
    server.admin = envoy_config::address::Admin::Unix(socket.clone());
    let bootstrap = server.bootstrap().unwrap();
    let binary = lab::envoy::find().unwrap();
    // Without an agent it never gets ready; what it was told it says all the same.
    let options = Options::new("envoy", home.path("logs"));
    let mut envoy = Envoy::launch(&binary, &bootstrap, &options).unwrap();
    lab::ready::unix_socket(&socket, crate::world::LIMIT, Some(envoy.process()))
        .await
        .unwrap();

    let outcome = home
        .run(["doctor", "--envoy-admin", socket.to_str().unwrap()])
        .await;

    assert_eq!(outcome.done().stdout.trim(), "nothing found");
    envoy.stop().await.unwrap();
}
