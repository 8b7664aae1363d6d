use identity::TrustDomain;

use super::*;

const POLICY: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: a
  namespace: default
  annotations:
    istio.io/dry-run: \"false\"
spec:
  rules:
  - from:
    - source:
        principals: [\"*\"]
";

fn scope() -> Scope {
    Scope::new(TrustDomain::new("cluster.local").unwrap(), "default")
}

fn shape_error(text: &str) -> String {
    let mut files = PolicyFiles::new();
    let errors = files.add("p.yaml", text).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

fn compile_errors(text: &str) -> Vec<String> {
    let mut files = PolicyFiles::new();
    files.add("p.yaml", text).unwrap();
    files
        .compile(&scope())
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn reads_several_documents_and_skips_empty_ones() {
    let text = format!(
        "---\n{POLICY}---\n# nothing\n---\n{}---\n",
        POLICY.replace("name: a", "name: b")
    );
    let names: Vec<_> = policies("p.yaml", &text)
        .unwrap()
        .into_iter()
        .map(|p| p.metadata.name.unwrap())
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn an_unknown_field_is_named_with_line_and_path() {
    let text = POLICY.replace("principals", "principal");
    let error = shape_error(&text);
    assert!(
        error.starts_with("p.yaml:12:9: spec.rules[0].from[0].source"),
        "{error}"
    );
    assert!(error.contains("unknown field `principal`"), "{error}");
}

#[test]
fn a_number_is_not_a_port_and_a_null_is_not_a_list() {
    let text = POLICY.replace("principals: [\"*\"]", "principals:");
    let error = shape_error(&text);
    assert!(
        error.starts_with("p.yaml:12:9: spec.rules[0].from[0].source.principals: "),
        "{error}"
    );
    assert!(error.contains("invalid type: null"), "{error}");
    let text = POLICY.replace("[\"*\"]", "[8080]");
    let error = shape_error(&text);
    assert!(
        error.contains("principals[0]: invalid type: integer `8080`"),
        "{error}"
    );
}

#[test]
fn a_key_that_occurs_twice_is_an_error_at_its_line() {
    let text = format!("{POLICY}        principals: [a]\n");
    let error = shape_error(&text);
    assert!(error.starts_with("p.yaml:13:9: "), "{error}");
    assert!(error.contains("principals"), "{error}");
}

#[test]
fn what_is_not_yaml_is_an_error_at_its_line() {
    let error = shape_error("a: [b\nc: d\n");
    assert!(error.starts_with("p.yaml:"), "{error}");
    assert!(error.lines().count() == 1, "{error}");
}

#[test]
fn the_compiler_s_problems_have_a_line_too() {
    let text = POLICY.replace(
        "\"*\"]",
        "a]\n        ipBlocks: [10.0.0.1,\n          nonsense]",
    );
    let errors = compile_errors(&text);
    assert_eq!(
        errors,
        [
            "p.yaml:14:11: spec.rules[0].from[0].source.ipBlocks[1]: AuthorizationPolicy default/a: \
          \"nonsense\" is not an IP address or CIDR range"
        ]
    );
}

#[test]
fn a_key_with_dots_is_found() {
    let text = POLICY.replace("\"false\"", "maybe");
    let errors = compile_errors(&text);
    assert_eq!(
        errors,
        [
            "p.yaml:7:5: metadata.annotations.istio.io/dry-run: AuthorizationPolicy default/a: \
          \"maybe\" is not true or false"
        ]
    );
}

#[test]
fn another_kind_is_an_error() {
    let error = shape_error(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata: {a: b}\n",
    );
    assert!(
        error.starts_with("p.yaml:2:1: kind: \"ConfigMap\" is not "),
        "{error}"
    );
}

#[test]
fn resources_of_all_kinds_stand_in_one_file() {
    let peer = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                metadata: {name: p, namespace: default}\nspec: {mtls: {mode: STRICT}}\n";
    let mut files = PolicyFiles::new();
    files
        .add(
            "p.yaml",
            &format!(
                "{peer}---\n{POLICY}---\n{}",
                peer.replace("name: p", "name: q")
            ),
        )
        .unwrap();
    let resources = files.resources();
    assert_eq!(
        (
            resources.authorization.len(),
            resources.peer_authentication.len()
        ),
        (1, 2)
    );
    let plaintext = crate::Request::new(&crate::Peer::Plaintext);
    let decision = files.compile(&scope()).unwrap().decide(&plaintext);
    assert_eq!(decision.code(), "mtls_required");
}

/// Errors count places by kind; the file knows which document that was.
#[test]
fn an_error_of_another_kind_has_its_own_line() {
    let peer = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                metadata: {name: p, namespace: default}\nspec: {portLevelMtls: {\"80\": {mode: STRICT}}}\n";
    let errors = compile_errors(&format!("{POLICY}---\n{peer}"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let line = POLICY.lines().count() + 5;
    let start = format!("p.yaml:{line}:8: spec.portLevelMtls: PeerAuthentication default/p: ");
    assert!(errors[0].starts_with(&start), "{errors:?}");
}

#[test]
fn every_bad_document_of_a_file_is_reported() {
    let bad = POLICY.replace("principals", "principal");
    let errors = policies("p.yaml", &format!("{bad}---\n{POLICY}---\n{bad}")).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
}
