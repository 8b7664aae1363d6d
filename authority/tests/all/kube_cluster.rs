//! A real kube-apiserver with its etcd, in a temporary folder and on loopback: no nodes and no
//! controllers, but real tokens, reviews, pods and roles.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const ADMIN: &str = "admin-token-of-this-test";
const AUTHORITY: &str = "authority-token-of-this-test";

pub(crate) struct Cluster {
    pub(crate) dir: TempDir,
    port: u16,
    server: Process,
    _etcd: Process,
}

/// A process that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn tool(name: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/kube/bin");
    let path = tools.join(name);
    assert!(
        path.exists(),
        "{} is not there: run ./justw e2e-kube",
        path.display()
    );
    path
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn start(name: &str, dir: &Path, arguments: &[String]) -> Process {
    let log = std::fs::File::create(dir.join(format!("{name}.log"))).unwrap();
    let child = Command::new(tool(name))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Process(child)
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let made = Command::new("openssl")
            .args(["genrsa", "-out", &at("sa.key"), "2048"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let users = format!("{ADMIN},admin,1,\"system:masters\"\n{AUTHORITY},authority,2\n");
        std::fs::write(at("users.csv"), users).unwrap();
        std::fs::write(at("authority.token"), AUTHORITY).unwrap();
        let [etcd, peer, port] = [free_port(), free_port(), free_port()];
        let store = format!("http://127.0.0.1:{etcd}");
        let peers = format!("http://127.0.0.1:{peer}");
        let etcd = start(
            "etcd",
            dir.path(),
            &[
                format!("--data-dir={}", at("etcd")),
                format!("--listen-client-urls={store}"),
                format!("--advertise-client-urls={store}"),
                format!("--listen-peer-urls={peers}"),
                format!("--initial-advertise-peer-urls={peers}"),
                format!("--initial-cluster=default={peers}"),
            ],
        );
        let server = start(
            "kube-apiserver",
            dir.path(),
            &[
                format!("--etcd-servers={store}"),
                "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
                format!("--secure-port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--cert-dir={}", at("certs")),
                format!("--token-auth-file={}", at("users.csv")),
                "--authorization-mode=RBAC".to_owned(),
                format!("--service-account-key-file={}", at("sa.key")),
                format!("--service-account-signing-key-file={}", at("sa.key")),
                format!("--service-account-issuer={ISSUER}"),
                format!("--api-audiences={ISSUER},istio-ca"),
            ],
        );
        let cluster = Self {
            dir,
            port,
            server,
            _etcd: etcd,
        };
        cluster.wait();
        cluster.set_up();
        cluster
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("certs/apiserver.crt")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.path().join("authority.token")
    }

    fn wait(&self) {
        let began = Instant::now();
        while self
            .try_call("GET", "/readyz", None)
            .is_none_or(|text| text != "ok")
        {
            let log = self.dir.path().join("kube-apiserver.log");
            assert!(
                began.elapsed() < Duration::from_secs(180),
                "the API server is not ready:\n{}",
                std::fs::read_to_string(log)
                    .unwrap_or_default()
                    .lines()
                    .rev()
                    .take(20)
                    .collect::<Vec<_>>()
                    .join("\n")
            );
            std::thread::sleep(Duration::from_millis(300));
        }
        println!("kube-apiserver ready after {:?}", began.elapsed());
    }

    /// What the authority may: review tokens, read pods and the issuer's keys.
    fn set_up(&self) {
        self.post(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            &json!({
                "metadata": {"name": "read-pods"},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
            }),
        );
        for role in [
            "system:auth-delegator",
            "read-pods",
            "system:service-account-issuer-discovery",
        ] {
            self.bind(role);
        }
    }

    fn bind(&self, role: &str) {
        self.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &json!({
            "metadata": {"name": binding(role)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": "authority", "apiGroup": "rbac.authorization.k8s.io"}],
        }));
    }

    pub(crate) fn unbind(&self, role: &str) {
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.delete(&format!("{path}/{}", binding(role)));
    }

    pub(crate) fn namespace(&self, name: &str) {
        self.post("/api/v1/namespaces", &json!({"metadata": {"name": name}}));
    }

    pub(crate) fn node(&self, name: &str) {
        self.post("/api/v1/nodes", &json!({"metadata": {"name": name}}));
    }

    pub(crate) fn service_account(&self, namespace: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.post(&path, &json!({"metadata": {"name": name}}));
    }

    /// A pod that is bound to `node` at once; its UID.
    pub(crate) fn pod(&self, namespace: &str, name: &str, account: &str, node: &str) -> String {
        let pod = self.post(
            &format!("/api/v1/namespaces/{namespace}/pods"),
            &json!({
                "metadata": {"name": name},
                "spec": {"serviceAccountName": account, "nodeName": node,
                    "containers": [{"name": "app", "image": "app"}]},
            }),
        );
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pod_fails(&self, namespace: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        let patch = json!({"status": {"phase": "Failed"}});
        let answer = self.try_call("PATCH", &path, Some(&patch)).unwrap();
        let pod: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(pod["status"]["phase"], "Failed", "{pod}");
    }

    pub(crate) fn delete_pod(&self, namespace: &str, name: &str) {
        self.delete(&format!(
            "/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0"
        ));
    }

    /// A projected token, as the kubelet asks for one.
    pub(crate) fn token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
        pod: Option<(&str, &str)>,
    ) -> String {
        let mut spec = json!({"audiences": [audience], "expirationSeconds": 600});
        if let Some((name, uid)) = pod {
            spec["boundObjectRef"] =
                json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid});
        }
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = self.post(&path, &json!({"spec": spec}));
        answer["status"]["token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// How many reviews the API server has answered.
    pub(crate) fn reviews(&self) -> u64 {
        let text = self.try_call("GET", "/metrics", None).unwrap();
        text.lines()
            .filter(|line| {
                line.starts_with("apiserver_request_total{")
                    && line.contains("resource=\"tokenreviews\"")
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .map(|count| count as u64)
            .sum()
    }

    /// Stops the server in its tracks: connections stay open, and nobody answers.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let status = Command::new("kill")
            .args([signal, &self.server.0.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.try_call("POST", path, Some(body)).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_ne!(answer["kind"], "Status", "{path}: {answer}");
        answer
    }

    fn delete(&self, path: &str) {
        let answer = self.try_call("DELETE", path, None).unwrap();
        assert!(!answer.contains("\"Failure\""), "{path}: {answer}");
    }

    fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<String> {
        let mut curl = Command::new("curl");
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        curl.args(["-s", "-m", "20", "-X", method, "--cacert"])
            .arg(self.ca_file())
            .args(["-H", &format!("Authorization: Bearer {ADMIN}")])
            .args(["-H", &format!("Content-Type: {kind}")]);
        if let Some(body) = body {
            curl.args(["-d", &body.to_string()]);
        }
        let answer = curl.arg(format!("{}{path}", self.url())).output().unwrap();
        answer
            .status
            .success()
            .then(|| String::from_utf8(answer.stdout).unwrap())
    }
}

fn binding(role: &str) -> String {
    format!("authority-{}", role.replace(':', "-"))
}
