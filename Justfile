# Recipes; run them through ./justw, which first puts what is missing into .tools/.

set shell := ["bash", "-euo", "pipefail", "-c"]

export COUNTERSIGN_WASM := env("COUNTERSIGN_WASM", justfile_directory() / "target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm")
oldest_envoy := "1.36.2"
oldest_line := "1.36"
envoy_matrix := "1.36.4 1.37.0 1.38.2 1.39.3 1.40.0"
wasm_route := env("WASM_TOOLCHAIN", `cat .tools/wasm-toolchain 2>/dev/null || echo rustup`)

# What there is.
[private]
default:
    @just --list --unsorted

# The main job: authority, agents and Envoys on this machine (`--once`: unattended, checked).
demo *ARGS: build wasm
    @target/debug/countersign up {{ ARGS }}

# All tests: native, in the Wasm host, in a real Envoy, and the demo itself.
test: wasm
    cargo test --workspace --features countersign/wasm --no-fail-fast
    @just oldest-envoy
    target/debug/countersign up --once

# The binary.
build:
    cargo build --bin countersign

# The filter, as Envoy loads it.
wasm:
    #!/usr/bin/env bash
    set -euo pipefail
    arguments=(-p countersign-filter --lib --target wasm32-unknown-unknown --profile wasm --target-dir target/wasm)
    # Panic messages carry source paths; where this was built is nobody's business.
    # The linker leaves room for larger numbers in the code than there are: seven bytes of a hundred.
    export RUSTFLAGS="-C link-arg=--compress-relocations --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/registry --remap-path-prefix=$PWD=/countersign"
    if [[ "{{ wasm_route }}" == debian ]]; then
        # Debian ships no compiled standard library for this target: build it from its source.
        PATH=/usr/bin:$PATH RUSTC_BOOTSTRAP=1 /usr/bin/cargo build "${arguments[@]}" -Z build-std=std,panic_abort
    else
        cargo build "${arguments[@]}"
    fi
    # The SDK exports callbacks that the filter has no use for; each costs every request a way into the module. Of
    # requests and connections the filter has functions of its own in the place of the SDK's.
    unset RUSTFLAGS
    cargo run --quiet -p countersign-filter --bin trim_exports -- target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm \
        proxy_on_response_headers proxy_on_response_body proxy_on_response_trailers proxy_on_log proxy_on_done \
        proxy_on_downstream_connection_close proxy_on_upstream_connection_close \
        proxy_on_{context_create=countersign_on_context_create,delete=countersign_on_delete} \
        proxy_on_request_{headers=countersign_on_request_headers,body=countersign_on_request_body,trailers=countersign_on_request_trailers} \
        proxy_on_{new_connection=countersign_on_new_connection,downstream_data=countersign_on_downstream_data,upstream_data=countersign_on_upstream_data}
    printf 'filter: %s (%s bytes)\n' "$COUNTERSIGN_WASM" "$(stat -c %s "$COUNTERSIGN_WASM")"

# Tests that run the built filter in the Wasm host and in a real Envoy.
test-wasm: wasm
    cargo test --workspace --features countersign/wasm --test envoy --test filter
    @just oldest-envoy

# What also has to hold on the oldest Envoy, which has no attribute for the peer's certificate.
[private]
oldest-envoy:
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ -x .tools/envoy/{{ oldest_envoy }}/envoy ]]; then
        # The whole workspace's features, so that nothing is built a second time.
        cargo test --workspace --features countersign/wasm --test envoy -- --ignored
    else
        printf 'NOT RUN: the tests on Envoy {{ oldest_envoy }} (it is not in .tools/envoy)\n' >&2
        # Where nobody reads along, what did not run has not passed.
        [[ -z ${CI:-} ]]
    fi

# Envoy's own RBAC beside the filter in a real Envoy: the same verdict by the same rule.
conformance: wasm
    cargo test -p countersign-wasm-tests --test conformance

# The tests in a real Envoy on each release line that is supported; ./justw fetches what is missing (30 MB each).
e2e-matrix: wasm
    #!/usr/bin/env bash
    set -euo pipefail
    # The whole workspace's features, so that nothing is built a second time.
    cargo test --workspace --features countersign/wasm --test envoy --no-run
    passed=() failed=()
    for version in {{ envoy_matrix }}; do
        envoy=$PWD/.tools/envoy/$version/envoy
        if [[ ! -x $envoy ]]; then
            printf 'e2e-matrix: NOT RUN on Envoy %s: it is not in .tools/envoy\n' "$version" >&2
            failed+=("$version (not there)")
            continue
        fi
        printf '\n== Envoy %s\n' "$version"
        # What is for the oldest release line alone is marked as ignored.
        arguments=()
        [[ $version != {{ oldest_line }}.* ]] || arguments=(--include-ignored)
        # A named Envoy is the only one that tests look at.
        if ENVOY=$envoy cargo test --workspace --features countersign/wasm --test envoy -- "${arguments[@]}"; then passed+=("$version"); else failed+=("$version"); fi
    done
    printf 'e2e-matrix: passed on: %s; failed on: %s\n' "${passed[*]:-none}" "${failed[*]:-none}"
    ((${#failed[@]} == 0))

# The whole system: processes on loopback, and the demo unattended.
e2e: wasm build
    cargo test -p countersign
    target/debug/countersign up --once

# Tokens against a real kube-apiserver; ./justw builds it into .tools/kube (needs Go; minutes, once).
e2e-kube:
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ -x .tools/kube/bin/kube-apiserver && -x .tools/kube/bin/etcd ]]; then
        cargo test -p countersign-authority --test all kube:: -- --ignored --nocapture
    else
        printf 'NOT RUN: the tests against a Kubernetes API server (kube-apiserver and etcd are not in .tools/kube/bin)\n' >&2
        # Where nobody reads along, what did not run has not passed.
        [[ -z ${CI:-} ]]
    fi

# Rewrites the golden Envoy configurations; look at the difference before committing it.
golden:
    UPDATE_GOLDEN=1 cargo test -p countersign-envoy-config -p countersign-lab

# The policy engine in a web page, one file: target/playground/index.html.
playground:
    #!/usr/bin/env bash
    set -euo pipefail
    export CARGO_TARGET_DIR="$PWD/target/wasm-bindgen"
    out="$PWD/target/playground"
    remap="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/registry --remap-path-prefix=$PWD=/countersign"
    arguments=(-p countersign-playground --lib --target wasm32-unknown-unknown --profile wasm)
    cd playground
    if [[ "{{ wasm_route }}" == debian ]]; then
        PATH=/usr/bin:$PATH RUSTC_BOOTSTRAP=1 RUSTFLAGS=$remap /usr/bin/cargo build "${arguments[@]}" -Z build-std=std,panic_abort
    else
        RUSTFLAGS=$remap cargo build "${arguments[@]}"
    fi
    cargo build --quiet -p countersign-playground-tool
    "$CARGO_TARGET_DIR/debug/countersign-playground-tool" \
        "$CARGO_TARGET_DIR/wasm32-unknown-unknown/wasm/countersign_playground.wasm" page "$out"

# The page in a headless Chromium (Debian package `chromium`).
playground-test: playground
    #!/usr/bin/env bash
    set -euo pipefail
    export CARGO_TARGET_DIR="$PWD/target/wasm-bindgen"
    cd playground
    cargo fmt -p countersign-playground -p countersign-playground-tool --check
    cargo clippy --quiet --workspace --all-targets -- -D warnings
    cargo test --quiet -p countersign-playground -- --include-ignored

# Builds step-ca into .tools/bin, for the tests of the CA's upstream (two minutes, needs Go).
step-ca:
    #!/usr/bin/env bash
    set -euo pipefail
    [[ ! -x .tools/bin/step-ca ]] || exit 0
    command -v go >/dev/null || { printf 'step-ca: no Go on PATH\n' >&2; exit 1; }
    # Without cgo: its smart-card support wants libpcsclite.
    CGO_ENABLED=0 GOBIN="$PWD/.tools/bin" go install github.com/smallstep/certificates/cmd/step-ca@v0.30.2

# Fetches what is missing, and nothing more.
setup:
    @printf 'everything is there\n'

# Clippy, with warnings as errors.
lint:
    cargo clippy --workspace --features countersign/wasm --all-targets -- -D warnings

# Formats the code.
fmt:
    cargo fmt --all

# Fails where the code is not formatted.
fmt-check:
    cargo fmt --all --check

# Licences, sources, banned and doubled crates. (Advisories need a network: `cargo deny check advisories`.)
deny:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! command -v cargo-deny >/dev/null; then
        printf 'deny: building cargo-deny into .tools (two minutes)\n' >&2
        cargo install --quiet --locked --root .tools cargo-deny
    fi
    cargo deny --all-features check bans licenses sources

# The documentation, without warnings, and no page that points to a file that is not there.
doc:
    #!/usr/bin/env bash
    set -euo pipefail
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --features countersign/wasm --no-deps --document-private-items
    missing=0
    for page in *.md */*.md */*/*.md; do
        [[ $page == target/* || ! -e $page ]] && continue
        while read -r link; do
            if [[ ! -e $(dirname "$page")/$link ]]; then
                printf 'doc: %s points to %s, which is not there\n' "$page" "$link" >&2
                missing=1
            fi
        done < <(grep -oE '\]\([^)#:]+\)' "$page" | sed -E 's/^\]\(|\)$//g' || true)
    done
    exit $missing

# identity and policy stay pure: no I/O, no runtime, no crypto provider, and they build for Wasm's sake without features.
purity:
    #!/usr/bin/env bash
    set -euo pipefail
    for crate in countersign-identity countersign-policy; do
        if cargo tree -e normal -p "$crate" --prefix none | grep -E '^(tokio|tonic|hyper|proxy-wasm|rustls|ring|aws-lc-rs|openssl)( |-sys )'; then
            printf 'purity: %s depends on the crates above\n' "$crate" >&2
            exit 1
        fi
    done

# Each crate checked alone, so that none leans on features another one switches on.
each-crate:
    #!/usr/bin/env bash
    set -euo pipefail
    for crate in $(cargo metadata --no-deps --format-version 1 | grep -o '"name":"countersign[a-z-]*","version"' | cut -d'"' -f4); do
        printf 'each-crate: %s\n' "$crate"
        cargo check --quiet -p "$crate" --all-targets
    done

# Fuzzes one target (those in fuzz/fuzz_targets).
fuzz TARGET SECONDS="60":
    #!/usr/bin/env bash
    set -euo pipefail
    [ -x .tools/bin/cargo-fuzz ] || cargo install cargo-fuzz --locked --root .tools
    cd fuzz
    cargo run --quiet -p countersign-fuzz-seeds
    arguments=(-max_total_time={{ SECONDS }})
    case {{ TARGET }} in
        # Most of an input's time goes into reading YAML under the sanitizer: shorter ones find more.
        policy_yaml) arguments+=(-max_len=2048) ;;
        *) arguments+=(-max_len=8192) ;;
    esac
    # What is built of the authority only where it is fuzzed.
    features=()
    case {{ TARGET }} in csr | token) features=(--features authority) ;; esac
    words=dictionaries/{{ TARGET }}.dict
    [[ ! -f $words ]] || arguments+=(-dict="$words")
    PATH="$PWD/../.tools/bin:$PATH" RUSTC_BOOTSTRAP=1 cargo fuzz run "${features[@]}" {{ TARGET }} -- "${arguments[@]}"

# Every profile with every kind of key below every kind of CA, by pkilint, zlint and OpenSSL.
lint-certs:
    #!/usr/bin/env bash
    set -euo pipefail
    out=${CARGO_TARGET_DIR:-$PWD/target}/lint-certs
    rm -rf "$out"
    mapfile -t folders < <(cargo run --quiet -p countersign-authority --example lint_certificates -- "$out")
    failed=0 looked=0
    complain() { # file linter findings
        [[ -z $3 ]] && return
        printf 'lint-certs: %s: %s: %s\n' "${1#"$out"/}" "$2" "$3" >&2
        failed=$((failed + 1))
    }
    # pkilint holds every spiffe:// URI for a bad one; RFC 3986 does not.
    pkilint() { .tools/venv/bin/"$1" lint -s ERROR -f CSV "${@:2}" | tail -n +2 | grep -v ',pkix.invalid_uri_syntax,' || true; }
    certificate() { # file
        looked=$((looked + 1))
        complain "$1" pkilint "$(pkilint lint_pkix_cert "$1")"
        [[ ! -x .tools/bin/zlint ]] \
            || complain "$1" zlint "$(.tools/bin/zlint -includeSources RFC5280,RFC3279,RFC5480,RFC8813,Community "$1" | grep -oE '"[a-z0-9_]+":\{[^}]*"result":"(error|fatal)"' || true)"
    }
    for folder in "${folders[@]}"; do
        certificate "$folder/leaf.pem"
        complain "$folder/leaf.pem" 'pkilint (chain)' "$(pkilint lint_pkix_signer_signee_cert_chain "$folder/intermediate.pem" "$folder/leaf.pem")"
        case $folder in *-ingress-*) purposes=(sslserver) ;; *-egress-*) purposes=(sslclient) ;; *) purposes=(sslserver sslclient) ;; esac
        for purpose in "${purposes[@]}"; do
            said=$(openssl verify -x509_strict -purpose "$purpose" -CAfile "$folder/root.pem" -untrusted "$folder/intermediate.pem" "$folder/leaf.pem" 2>&1) \
                || complain "$folder/leaf.pem" openssl "$said"
        done
        # The same two CAs stand above many leaves.
        [[ $folder == *-workload-p256 ]] || continue
        certificate "$folder/root.pem"
        certificate "$folder/intermediate.pem"
        complain "$folder/intermediate.pem" 'pkilint (chain)' "$(pkilint lint_pkix_signer_signee_cert_chain "$folder/root.pem" "$folder/intermediate.pem")"
    done
    ((looked > 0)) || { printf 'lint-certs: nothing was looked at\n' >&2; exit 1; }
    if [[ -x .tools/bin/zlint ]]; then linters='pkilint, zlint, openssl'; else linters='pkilint, openssl (zlint NOT RUN: it is not in .tools/bin)'; fi
    printf 'lint-certs: %s certificates, %s findings by %s\n' "$looked" "$failed" "$linters"
    ((failed == 0))

# CPU per request of Envoy with and without the filter, and the authority's rate; never part of a test.
bench *ARGS: wasm
    cargo bench -p countersign --bench figures -- {{ ARGS }}

# What a decision costs as policies grow, beside RBAC and an ext_authz service: half an hour on an idle machine.
bench-filter *ARGS: wasm
    cargo bench -p countersign --bench figures -- filter {{ ARGS }}

# Memory of an Envoy over a thousand new configurations, with requests going on.
bench-reload *ARGS: wasm
    cargo bench -p countersign --bench figures -- reload {{ ARGS }}

# Certificates a second: by gRPC at 1, 16, 64 and 256 in flight, in process, and 10,000 agents at once.
bench-authority *ARGS:
    cargo bench -p countersign --bench figures -- authority {{ ARGS }}

# The record with a million certificates: each indexed query, issuing, and checking it; figures in target/bench/record.json.
bench-record *ARGS:
    cargo bench -p countersign-authority --bench record -- {{ ARGS }}

# What CI runs after the tests.
ci: test fmt-check lint doc purity each-crate deny
