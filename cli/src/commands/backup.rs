//! `countersign authority backup|restore`.

use authority::backup::{self, Manifest, RestoreOptions};

use crate::args::{BackupArgs, RestoreArgs};
use crate::commands::now;
use crate::failure::Failure;
use crate::output;

/// `authority backup`.
pub(crate) async fn backup(args: BackupArgs) -> Result<(), Failure> {
    let made = backup::backup(&args.data_dir, &args.file, args.with_keys, now()).await;
    let manifest = made.map_err(|error| Failure::part("backup", error))?;
    let keys = if manifest.with_keys {
        "WITH private keys: keep it secret"
    } else {
        "without private keys"
    };
    output::line(&format!(
        "{}: {}, {keys}",
        args.file.display(),
        describe(&manifest)
    ))
}

/// `authority restore`.
pub(crate) async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let failed = |error| Failure::part("restore", error);
    let options = RestoreOptions {
        position_file: args.position,
        accept_lost: args.accept_lost_revocations,
    };
    if !args.yes {
        let plan = backup::plan(&args.data_dir, &args.file, &options).await;
        let plan = plan.map_err(failed)?;
        output::line(&format!("backup     {}", describe(&plan.manifest)))?;
        output::line(&match plan.replaces {
            Some(size) => {
                format!("replaces   a record of {size} log entries, which is kept beside")
            }
            None => "replaces   no record that can be read".to_owned(),
        })?;
        output::line(&match plan.files.as_slice() {
            [] => "files      none but the record".to_owned(),
            files => format!("files      {}", files.join(", ")),
        })?;
        if let Some(lost) = &plan.lost {
            output::line(&format!("LOSES      {lost}"))?;
        }
        return Err(Failure::Check(
            "nothing was changed; add --yes to do it".to_owned(),
        ));
    }
    let (plan, aside) = backup::restore(&args.data_dir, &args.file, &options, now())
        .await
        .map_err(failed)?;
    output::line(&format!("restored {}", describe(&plan.manifest)))?;
    if let Some(aside) = aside {
        output::line(&format!("what was there is in {}", aside.display()))?;
    }
    if plan.lost.is_some() {
        output::line("what was revoked since is accepted again: revoke it anew")?;
    }
    Ok(())
}

fn describe(manifest: &Manifest) -> String {
    format!(
        "trust domain {}, {} log entries, root {}, made {}",
        manifest.trust_domain,
        manifest.size,
        manifest.root,
        output::time(manifest.made_at)
    )
}
