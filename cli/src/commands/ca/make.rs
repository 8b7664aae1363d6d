//! `countersign ca init`, `intermediate`, `import`, `export`, `encrypt-keys`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use authority::ca::below::{IntermediateOptions, IntermediatePlan};
use authority::ca::export::{Export, ExportOptions};
use authority::ca::import::{Files, Import};
use authority::ca::{
    self, CaInit, CaOptions, CaProfile, Created, Encrypted, KeyAlgorithm, PassphraseSource,
    Pkcs11Uri, UriHost,
};
use identity::{TrustDomain, UnixTime};
use serde::Deserialize;

use super::passphrase::{new_passphrase, source};
use crate::args::{
    CaInitArgs, CaKeyAlgorithm, ExportArgs, ImportArgs, IntermediateArgs, PassphraseArgs,
};
use crate::commands::authority::trust_domain;
use crate::commands::now;
use crate::failure::Failure;
use crate::output::{self, duration};

pub(super) fn init(args: CaInitArgs) -> Result<(), Failure> {
    let wanted = CaInit {
        trust_domain: trust_domain(&args.trust_domain)?,
        key_algorithm: key_algorithm(args.key_algorithm),
        generation: args.generation,
        now: UnixTime::from_secs(now()),
    };
    let token = args.token.as_deref().map(token).transpose()?;
    let named = |role: &str| {
        let named = token.as_ref();
        named.map(|token| token.with_object(format!("{}-{role}", token.object())))
    };
    let options = CaOptions {
        organization: args.organization,
        name: args.name,
        root_seconds: life("--root-life", args.root_life)?,
        intermediate_seconds: life("--intermediate-life", args.intermediate_life)?,
        root_path_length: args.path_length,
        passphrase: new_passphrase(&args.passphrase)?,
        root_token: named("root"),
        intermediate_token: named("intermediate"),
    };
    let folder = ca_folder(&args.data_dir)?;
    let created = ca::init_with(&folder, &wanted, &options).map_err(failed)?;
    output::line(&match created {
        Created::Made => format!("made a root and an intermediate in {}", folder.display()),
        Created::AlreadyThere => {
            format!(
                "there is a CA in {}; it was left as it is",
                folder.display()
            )
        }
    })
}

pub(super) async fn intermediate(args: IntermediateArgs) -> Result<(), Failure> {
    let folder = args.data_dir.join(authority::names::CA_DIR);
    let options = IntermediateOptions {
        trust_domain: match &args.trust_domain {
            Some(name) => trust_domain(name)?,
            None => roots_trust_domain(&folder)?,
        },
        cluster: args.cluster,
        generation: args.generation,
        path_length: args.path_length,
        seconds: life("--life", args.life)?,
        uri_hosts: uri_hosts(&args.permit_uri_host)?,
        now: UnixTime::from_secs(now()),
    };
    let plan = IntermediatePlan::new(&folder, &options).map_err(failed)?;
    if args.dry_run {
        return output::line(&format!("would sign {}", described(plan.profile())));
    }
    let passphrase = source(&args.passphrase, "passphrase of the root's key")?;
    let signed = plan
        .sign(&folder, &args.out, &passphrase)
        .await
        .map_err(failed)?;
    output::line(&format!(
        "signed {} (sha256 {}); root, certificate and key are in {}",
        described(plan.profile()),
        signed.sha256(),
        args.out.display()
    ))
}

pub(super) fn import(args: ImportArgs) -> Result<(), Failure> {
    let files = match (&args.from, &args.secret, &args.certificate, &args.key) {
        (Some(folder), ..) => Files::read(folder),
        (None, Some(secret), ..) => Files::of_secret(&secret_data(secret)?),
        (None, None, Some(certificate), Some(key)) => Files::of_parts(
            certificate,
            key,
            args.chain.as_deref(),
            args.root.as_deref(),
        ),
        _ => return Err(Failure::Check("no CA was named".to_owned())),
    }
    .map_err(failed)?;
    let opens = args
        .from_passphrase_file
        .clone()
        .map_or(PassphraseSource::None, PassphraseSource::File);
    let time = UnixTime::from_secs(now());
    let import = Import::check(&files, &opens, time).map_err(failed)?;
    let domain = trust_domain(&args.trust_domain)?;
    for (at, ca) in import.chain().iter().enumerate() {
        let role = match at {
            _ if at + 1 == import.chain().len() => "root",
            0 => "signs leaves",
            _ => "between",
        };
        let left = duration(ca.not_after().as_secs() - now());
        output::line(&format!(
            "{role}: {}, expires in {left}, sha256 {}",
            ca.subject(),
            ca.sha256()
        ))?;
    }
    let below = if import.is_root() {
        format!(
            ", with a new intermediate for {domain}",
            domain = domain.as_str()
        )
    } else {
        String::new()
    };
    let folder = args.data_dir.join(authority::names::CA_DIR);
    if args.dry_run {
        return output::line(&format!("would be put into {}{below}", folder.display()));
    }
    let passphrase = new_passphrase(&args.passphrase)?;
    let folder = ca_folder(&args.data_dir)?;
    import
        .install(&folder, &domain, passphrase.as_ref(), time)
        .map_err(failed)?;
    output::line(&format!("put into {}{below}", folder.display()))
}

pub(super) async fn export(args: ExportArgs) -> Result<(), Failure> {
    let folder = args
        .ca
        .unwrap_or_else(|| args.data_dir.join(authority::names::CA_DIR));
    let passphrase = source(&args.passphrase, "passphrase of the CA's keys")?;
    let options = ExportOptions {
        with_key: !args.without_key,
        crl_seconds: life("--crl-life", args.crl_life)?,
    };
    let export = Export::prepare(&folder, &passphrase, &options, UnixTime::from_secs(now()))
        .await
        .map_err(failed)?;
    if !args.dry_run {
        export.write(&args.to).map_err(failed)?;
    }
    let verb = if args.dry_run { "would write" } else { "wrote" };
    for (name, text, mode) in export.files() {
        let path = args.to.join(name);
        output::line(&format!(
            "{verb} {} (mode {mode:o}, {} bytes)",
            path.display(),
            text.len()
        ))?;
    }
    if !export.without_crl().is_empty() {
        tracing::warn!(
            "no ca-crl.pem: there is no revocation list of {}, and with one missing Envoy would refuse every peer",
            export.without_crl().join(" and of ")
        );
    }
    Ok(())
}

pub(super) fn encrypt_keys(data_dir: &Path, args: &PassphraseArgs) -> Result<(), Failure> {
    let Some(passphrase) = new_passphrase(args)? else {
        return Err(Failure::Check(
            "name --key-passphrase-file, or say --ask-passphrase".to_owned(),
        ));
    };
    let folder = data_dir.join(authority::names::CA_DIR);
    for (path, state) in ca::encrypt_keys(&folder, &passphrase).map_err(failed)? {
        let state = match state {
            Encrypted::Now => "encrypted",
            Encrypted::Already => "was encrypted already (its passphrase was not changed)",
            Encrypted::InToken => "is in a PKCS#11 token",
        };
        output::line(&format!("{}: {state}", path.display()))?;
    }
    Ok(())
}

/// The trust domain in the root's SPIFFE ID.
fn roots_trust_domain(folder: &Path) -> Result<TrustDomain, Failure> {
    let path = folder.join(ca::names::ROOT_CERTIFICATE);
    let root = ca::CaCertificate::read(&path).map_err(failed)?;
    root.trust_domain().ok_or_else(|| {
        Failure::Check(format!(
            "{} names no trust domain: say --trust-domain",
            path.display()
        ))
    })
}

fn described(profile: &CaProfile) -> String {
    let mut text = format!(
        "CN={},O={} for {}, path length {}, expires in {}",
        profile.common_name,
        profile.organization,
        profile.trust_domain.id_string(),
        profile.path_length,
        duration(profile.not_after.as_secs() - now())
    );
    if !profile.uri_hosts.is_empty() {
        let hosts: Vec<_> = profile.uri_hosts.iter().map(UriHost::as_str).collect();
        text.push_str(&format!(", URI names only of {}", hosts.join(", ")));
    }
    text
}

/// A Kubernetes secret, as `kubectl get secret -o yaml` prints it.
#[derive(Debug, Deserialize)]
struct Secret {
    kind: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

fn secret_data(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let size = fs::metadata(path)
        .map_err(|error| Failure::file("read", path, error))?
        .len();
    if size > MAX_SECRET_BYTES {
        return Err(Failure::Check(format!(
            "{} has {size} bytes, a secret at most {MAX_SECRET_BYTES}",
            path.display()
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, error))?;
    // An error of the parser would show lines of the file, and with them the key.
    let secret: Option<Secret> = serde_saphyr::from_str(&text).ok();
    match secret {
        Some(secret) if secret.kind == "Secret" => Ok(secret.data),
        _ => Err(Failure::Check(format!(
            "{} is not a Kubernetes Secret in YAML or JSON",
            path.display()
        ))),
    }
}

/// The CA's folder; the data folder is made if it is not there.
fn ca_folder(data_dir: &Path) -> Result<std::path::PathBuf, Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|error| Failure::file("create", data_dir, error))?;
    Ok(data_dir.join(authority::names::CA_DIR))
}

pub(super) fn uri_hosts(hosts: &[String]) -> Result<Vec<UriHost>, Failure> {
    let parsed = hosts.iter().map(|host| host.parse::<UriHost>());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::part("--permit-uri-host", error))
}

fn token(uri: &str) -> Result<Pkcs11Uri, Failure> {
    uri.parse()
        .map_err(|error: ca::pkcs11::Pkcs11UriError| Failure::part("--token", error))
}

pub(super) const fn key_algorithm(algorithm: CaKeyAlgorithm) -> KeyAlgorithm {
    match algorithm {
        CaKeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP256,
        CaKeyAlgorithm::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        CaKeyAlgorithm::Rsa2048 => KeyAlgorithm::Rsa2048,
    }
}

pub(super) fn life(argument: &str, seconds: u64) -> Result<i64, Failure> {
    i64::try_from(seconds)
        .map_err(|_too_large| Failure::Check(format!("{argument} {seconds}: too long")))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::part("CA", error)
}

/// Base64 makes a third more of a secret's 1 MiB.
const MAX_SECRET_BYTES: u64 = 4 << 20;
