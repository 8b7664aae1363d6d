//! Arguments of `countersign ca`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{AdminArgs, OutputArgs, seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a root and an intermediate (what `authority serve` does where there are none)
    #[command(after_help = "\
Keys are plain files unless a passphrase or a token is named.

Examples:
  countersign ca init --trust-domain example.org
  countersign ca init --trust-domain example.org --key-passphrase-file /run/credentials/ca
  countersign ca init --token 'pkcs11:token=mesh;object=ca?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin'")]
    Init(Box<CaInitArgs>),
    /// Root, intermediate, custody, upstream, deny list and counts of a running authority
    #[command(after_help = "\
Examples:
  countersign ca status -o json
  countersign ca status --offline .countersign/authority     without a running authority")]
    Status {
        #[command(flatten)]
        admin: AdminArgs,
        /// Read this data folder's CA instead of asking an authority
        #[arg(long, value_name = "FOLDER")]
        offline: Option<PathBuf>,
        #[command(flatten)]
        passphrase: PassphraseArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Sign an intermediate for another cluster with the root's key
    #[command(after_help = "\
The folder is a CA as `ca init` makes it, without the root's key: copy it to the other cluster's data
folder as `ca`, or give it to istiod with `ca export --ca FOLDER`.

Examples:
  countersign ca intermediate --cluster east --out east
  countersign ca intermediate --cluster east --out east --permit-uri-host example.org")]
    Intermediate(Box<IntermediateArgs>),
    /// Take over an existing CA: Istio's cacerts folder or secret, tls.crt and tls.key, or PEM files
    #[command(after_help = "\
Refused are: incomplete folders, MD5, SHA-1, RSA below 2048 bits, expired, not a CA, no room for an
intermediate, a key that does not fit. Below a root a new intermediate is made.

Examples:
  countersign ca import cacerts/ --trust-domain cluster.local --dry-run
  countersign ca import --secret cacerts.yaml          (kubectl get secret cacerts -o yaml)
  countersign ca import --certificate ca.pem --key ca.key --trust-domain example.org")]
    Import(Box<ImportArgs>),
    /// Write the CA as Istio's cacerts files, with revocation lists
    #[command(after_help = "\
ca-key.pem leaves as a plain file (mode 0600), since istiod reads no other.

Example:
  countersign ca export cacerts --dry-run")]
    Export(Box<ExportArgs>),
    /// Encrypt the CA's plain key files with a passphrase
    #[command(after_help = "\
The running authority needs the passphrase at its next start.

Example:
  countersign ca encrypt-keys --key-passphrase-file /run/credentials/ca")]
    EncryptKeys {
        /// The authority's data folder
        #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
        data_dir: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Have an offline root sign an intermediate: request out, certificate and transcript in
    #[command(subcommand)]
    Ceremony(CeremonyCommand),
    /// Take the prepared key of the deny list into use, and prepare another
    ///
    /// Filters that pin the list's signer by its SPIFFE ID need nothing; those that pin keys must have
    /// had the prepared one (`ca status -o json`: the second of `denyList.keys`).
    #[command(after_help = "Example:\n  countersign ca rotate-list-key")]
    RotateListKey {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Kinds of CA keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CaKeyAlgorithm {
    /// ECDSA on P-256
    EcdsaP256,
    /// ECDSA on P-384
    EcdsaP384,
    /// RSA with 2048 bits
    Rsa2048,
}

/// Where the passphrase of key files comes from; never an argument.
#[derive(Debug, Default, Args)]
pub(crate) struct PassphraseArgs {
    /// File whose first line opens and encrypts the CA's keys (not readable by everybody)
    #[arg(long, value_name = "FILE")]
    pub(crate) key_passphrase_file: Option<PathBuf>,
    /// Ask for the passphrase on the terminal
    #[arg(long, conflicts_with = "key_passphrase_file")]
    pub(crate) ask_passphrase: bool,
}

impl PassphraseArgs {
    /// Whether one of them is there.
    pub(crate) const fn is_given(&self) -> bool {
        self.key_passphrase_file.is_some() || self.ask_passphrase
    }
}

#[derive(Debug, Args)]
pub(crate) struct CaInitArgs {
    /// Keys, certificates and the database
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// The trust domain to certify
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: String,
    /// Keys of root and intermediate
    #[arg(long, value_enum, default_value_t = CaKeyAlgorithm::EcdsaP256)]
    pub(crate) key_algorithm: CaKeyAlgorithm,
    /// First words of both common names: NAME Root CA G1
    #[arg(long, default_value = "Countersign", value_name = "NAME")]
    pub(crate) name: String,
    /// Organization of both subjects [default: the trust domain]
    #[arg(long, value_name = "NAME")]
    pub(crate) organization: Option<String>,
    /// Number of this hierarchy, part of both names
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) generation: u32,
    /// Validity of the root
    #[arg(long, default_value = "3652d", value_parser = seconds, value_name = "DURATION")]
    pub(crate) root_life: u64,
    /// Validity of the intermediate
    #[arg(long, default_value = "365d", value_parser = seconds, value_name = "DURATION")]
    pub(crate) intermediate_life: u64,
    /// CAs that may follow the root, the intermediate among them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8), value_name = "NUMBER")]
    pub(crate) path_length: u8,
    /// Make the keys in a PKCS#11 token: a URI; `-root` and `-intermediate` follow its object
    #[arg(long, value_name = "URI", conflicts_with = "key_passphrase_file")]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IntermediateArgs {
    /// The data folder with the root's key
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Name of the cluster, part of the common name
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    /// New folder for root, certificate and key
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// The trust domain to certify [default: the root's]
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<String>,
    /// CAs that may follow it
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) path_length: u8,
    /// Validity; no longer than the root's
    #[arg(long, default_value = "365d", value_parser = seconds, value_name = "DURATION")]
    pub(crate) life: u64,
    /// Number of this generation, part of the common name
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) generation: u32,
    /// Confine URI names to this host (`.host`: to all below it); may be repeated.
    ///
    /// rustls (ztunnel, linkerd, this authority's own listener) refuses everything below such a CA.
    #[arg(long, value_name = "HOST")]
    pub(crate) permit_uri_host: Vec<String>,
    /// Say what would be signed, and sign nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Folder with ca-cert.pem …, tls.crt … or root.pem …
    #[arg(value_name = "FOLDER", required_unless_present_any = ["secret", "certificate"])]
    pub(crate) from: Option<PathBuf>,
    /// A Kubernetes secret, YAML or JSON
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(crate) secret: Option<PathBuf>,
    /// The CA's certificate
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["from", "secret"])]
    pub(crate) certificate: Option<PathBuf>,
    /// Its key: PKCS#8, SEC 1 or PKCS#1
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Certificates between it and the root
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) chain: Option<PathBuf>,
    /// The root's certificate, where it is not the root itself
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) root: Option<PathBuf>,
    /// The authority's data folder
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// The trust domain to certify, where an intermediate must be made
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: String,
    /// File whose first line opens the keys that are imported
    #[arg(long, value_name = "FILE")]
    pub(crate) from_passphrase_file: Option<PathBuf>,
    /// Check everything, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// New folder to write
    #[arg(value_name = "FOLDER")]
    pub(crate) to: PathBuf,
    /// The authority's data folder
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// A CA's folder, instead of the data folder's
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ca: Option<PathBuf>,
    /// Leave the key out
    #[arg(long)]
    pub(crate) without_key: bool,
    /// Validity of the revocation lists
    #[arg(long, default_value = "90d", value_parser = seconds, value_name = "DURATION")]
    pub(crate) crl_life: u64,
    /// Say what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CeremonyCommand {
    /// Make the intermediate's key here, and its request
    #[command(
        after_help = "Example:\n  countersign ca ceremony start --trust-domain example.org --request request.csr"
    )]
    Start {
        /// The authority's data folder
        #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
        data_dir: PathBuf,
        /// The trust domain
        #[arg(long, default_value = "cluster.local", value_name = "NAME")]
        trust_domain: String,
        /// Kind of a first key
        #[arg(long, value_enum, default_value_t = CaKeyAlgorithm::EcdsaP256)]
        key_algorithm: CaKeyAlgorithm,
        /// First words of a first common name
        #[arg(long, default_value = "Countersign", value_name = "NAME")]
        name: String,
        /// Where to write the request
        #[arg(long, default_value = "request.csr", value_name = "FILE")]
        request: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// On the offline machine: show what would be signed, and sign it
    #[command(after_help = "\
Writes the certificate, the transcript and, if the root may, its revocation list.

Example:
  countersign ca ceremony sign request.csr --root-cert root.pem --root-key root.key \\
      --trust-domain example.org --witness Ada --witness Grace --out signed")]
    Sign(Box<CeremonySignArgs>),
    /// Check what came back, and take it into use
    #[command(
        after_help = "Example:\n  countersign ca ceremony finish signed --trust-domain example.org"
    )]
    Finish {
        /// The folder that `ceremony sign` wrote
        #[arg(value_name = "FOLDER")]
        from: PathBuf,
        /// The authority's data folder
        #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
        data_dir: PathBuf,
        /// The trust domain
        #[arg(long, default_value = "cluster.local", value_name = "NAME")]
        trust_domain: String,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Check a transcript's signature by its root, and print what it says
    #[command(
        after_help = "Example:\n  countersign ca ceremony verify signed/transcript.json --root-cert root.pem -o yaml"
    )]
    Verify {
        /// The transcript
        #[arg(value_name = "FILE")]
        transcript: PathBuf,
        /// The root's certificate, from a source of its own
        #[arg(long, value_name = "FILE")]
        root_cert: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CeremonySignArgs {
    /// The request
    #[arg(value_name = "FILE")]
    pub(crate) request: PathBuf,
    /// The root's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) root_cert: PathBuf,
    /// The root's key: a PEM file, or a file with a PKCS#11 URI
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: PathBuf,
    /// The trust domain, which the request must name
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: String,
    /// Common name [default: what the request proposes]
    #[arg(long, value_name = "NAME")]
    pub(crate) common_name: Option<String>,
    /// Organization [default: the trust domain]
    #[arg(long, value_name = "NAME")]
    pub(crate) organization: Option<String>,
    /// CAs that may follow the intermediate
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) path_length: u8,
    /// Validity; no longer than the root's
    #[arg(long, default_value = "365d", value_parser = seconds, value_name = "DURATION")]
    pub(crate) life: u64,
    /// Confine URI names to this host; may be repeated (rustls refuses everything below such a CA)
    #[arg(long, value_name = "HOST")]
    pub(crate) permit_uri_host: Vec<String>,
    /// Somebody who is there; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) witness: Vec<String>,
    /// New folder for what goes back
    #[arg(long, default_value = "signed", value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Sign without asking
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}
