//! `countersign ca ceremony`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use authority::ca::ceremony::{
    self, Finished, Plan, PlanOptions, Returned, StartOptions, Statement, Transcript,
};
use authority::ca::{CaCertificate, open_key};
use identity::UnixTime;

use super::make::{key_algorithm, life, uri_hosts};
use super::passphrase::{new_passphrase, source};
use crate::args::{CeremonyCommand, CeremonySignArgs, OutputArgs, PassphraseArgs};
use crate::commands::authority::trust_domain;
use crate::commands::now;
use crate::failure::Failure;
use crate::output::{self, Format, duration};

pub(super) async fn run(command: CeremonyCommand) -> Result<(), Failure> {
    match command {
        CeremonyCommand::Start {
            data_dir,
            trust_domain: domain,
            key_algorithm: algorithm,
            name,
            request,
            passphrase,
        } => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&data_dir)
                .map_err(|error| Failure::file("create", &data_dir, error))?;
            let options = StartOptions {
                trust_domain: trust_domain(&domain)?,
                key_algorithm: key_algorithm(algorithm),
                name,
                token: None,
                passphrase: new_source(&passphrase)?,
                now: UnixTime::from_secs(now()),
            };
            let csr = ceremony::start(&data_dir, &options).await.map_err(failed)?;
            fs::write(&request, &csr).map_err(|error| Failure::file("write", &request, error))?;
            output::line(&format!(
                "the request is in {}; its key stays in {}",
                request.display(),
                data_dir.display()
            ))
        }
        CeremonyCommand::Sign(args) => sign(*args).await,
        CeremonyCommand::Finish {
            from,
            data_dir,
            trust_domain,
            passphrase,
        } => finish(&from, &data_dir, &trust_domain, &passphrase),
        CeremonyCommand::Verify {
            transcript,
            root_cert,
            output,
        } => verify(&transcript, &root_cert, output),
    }
}

/// For a start: a passphrase that encrypts a new key must be good enough.
fn new_source(passphrase: &PassphraseArgs) -> Result<authority::ca::PassphraseSource, Failure> {
    Ok(new_passphrase(passphrase)?.map_or(
        authority::ca::PassphraseSource::None,
        authority::ca::PassphraseSource::Typed,
    ))
}

async fn sign(args: CeremonySignArgs) -> Result<(), Failure> {
    let root = CaCertificate::read(&args.root_cert).map_err(failed)?;
    let csr = read(&args.request)?;
    let options = PlanOptions {
        trust_domain: trust_domain(&args.trust_domain)?,
        common_name: args.common_name.clone(),
        organization: args.organization.clone(),
        path_length: args.path_length,
        seconds: life("--life", args.life)?,
        uri_hosts: uri_hosts(&args.permit_uri_host)?,
        witnesses: args.witness.clone(),
        crl_seconds: life("--life", args.life)?,
        now: UnixTime::from_secs(now()),
    };
    let plan = Plan::new(root.clone(), &csr, &options).map_err(failed)?;
    output::line(&shown(plan.statement()))?;
    if args.out.exists() {
        return Err(Failure::Check(format!(
            "{} exists already",
            args.out.display()
        )));
    }
    if !args.yes && !confirmed(plan.statement())? {
        return Err(Failure::Check("nothing was signed".to_owned()));
    }
    let passphrase = source(&args.passphrase, "passphrase of the root's key")?;
    let key = open_key(&args.root_key, &passphrase).map_err(failed)?;
    let signed = plan.sign(key.as_ref()).await.map_err(failed)?;
    DirBuilder::new()
        .mode(0o755)
        .create(&args.out)
        .map_err(|error| Failure::file("create", &args.out, error))?;
    let mut files = vec![
        (CERTIFICATE, signed.certificate.pem()),
        (ROOT, root.pem()),
        (TRANSCRIPT, signed.transcript.as_str()),
    ];
    files.extend(signed.crl.as_deref().map(|crl| (CRL, crl)));
    for (name, text) in files {
        write_new(&args.out.join(name), text)?;
    }
    output::line(&format!(
        "signed {} (sha256 {}); carry {} back",
        signed.certificate.subject(),
        signed.certificate.sha256(),
        args.out.display()
    ))
}

/// Whether somebody typed the beginning of the key's digest, read off the other machine.
fn confirmed(statement: &Statement) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Check(
            "nobody is there to ask: say --yes to sign without".to_owned(),
        ));
    }
    let failed = |error| Failure::file("ask on", "the terminal", error);
    let digits: String = statement.key_sha256.chars().take(8).collect();
    let mut err = io::stderr().lock();
    write!(
        err,
        "To sign, type the first eight digits of the key's sha256: "
    )
    .map_err(failed)?;
    err.flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim() == digits)
}

fn finish(
    from: &Path,
    data_dir: &Path,
    domain: &str,
    passphrase: &PassphraseArgs,
) -> Result<(), Failure> {
    let [certificate, root, transcript] =
        [CERTIFICATE, ROOT, TRANSCRIPT].map(|name| read(&from.join(name)));
    let (certificate, root, transcript) = (certificate?, root?, transcript?);
    let crl_path = from.join(CRL);
    let crl = crl_path.exists().then(|| read(&crl_path)).transpose()?;
    let returned = Returned {
        certificate: &certificate,
        root: &root,
        transcript: &transcript,
        crl: crl.as_deref(),
    };
    let passphrase = source(passphrase, "passphrase of the intermediate's key")?;
    let is_running = authority::is_running(data_dir);
    let time = UnixTime::from_secs(now());
    let domain = trust_domain(domain)?;
    let finished = ceremony::finish(data_dir, returned, &domain, &passphrase, is_running, time)
        .map_err(failed)?;
    output::line(match finished {
        Finished::Made => "the CA is there: start the authority",
        Finished::Replaced => "the new intermediate is in its place",
        Finished::HandedOver => {
            "handed over: the running authority announces the new intermediate and then signs with it (`ca status`)"
        }
    })
}

fn verify(transcript: &Path, root: &Path, output: OutputArgs) -> Result<(), Failure> {
    let root = CaCertificate::read(root).map_err(failed)?;
    let statement = Transcript::parse(&read(transcript)?)
        .and_then(|transcript| transcript.verify(&root))
        .map_err(|error| Failure::part(transcript.display().to_string(), error))?;
    if output.output == Format::Table {
        output::line(&shown(&statement))?;
        return output::line("the root has signed this transcript");
    }
    output::object(output.output, &statement, Vec::new())
}

/// A statement for people.
fn shown(statement: &Statement) -> String {
    let or_none = |text: String| {
        if text.is_empty() {
            "none".to_owned()
        } else {
            text
        }
    };
    let rows = [
        (
            "root",
            format!(
                "{} (sha256 {})",
                statement.root_subject, statement.root_sha256
            ),
        ),
        ("subject", statement.subject.clone()),
        ("trust domain", statement.trust_domain.clone()),
        (
            "key",
            format!("{}, sha256 {}", statement.key_type, statement.key_sha256),
        ),
        ("path length", statement.path_length.to_string()),
        ("valid from", statement.not_before.to_string()),
        (
            "valid until",
            format!(
                "{} (in {})",
                statement.not_after,
                duration(statement.not_after.as_secs() - now())
            ),
        ),
        (
            "URI names only of",
            or_none(statement.permitted_uri_hosts.join(", ")),
        ),
        ("witnesses", or_none(statement.witnesses.join(", "))),
        ("serial", or_none(statement.serial.clone())),
    ];
    let cells = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value]);
    output::table(&["what is signed", ""], cells)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::file("read", path, error))
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::file("write", path, error))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::part("ceremony", error)
}

const CERTIFICATE: &str = "certificate.pem";
const ROOT: &str = "root.pem";
const TRANSCRIPT: &str = "transcript.json";
const CRL: &str = "root-crl.pem";
