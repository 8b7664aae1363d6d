//! `countersign up`: the whole thing on one machine.

use std::time::Duration;

use crate::args::UpArgs;
use crate::commands::stopped;
use crate::failure::Failure;
use crate::output;

pub(crate) mod layout;

mod decisions;
mod envoys;
mod identities;
mod menu;
mod once;
mod screen;
mod trickle;
mod view;
mod world;

pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    let leaf_ttl = Duration::from_secs(args.leaf_ttl);
    let say = |part: &str, text: &str| output::line(&format!("{part:>14}  {text}"));
    // Children die with what started them, so giving up while they start leaves none behind.
    let world = tokio::select! {
        world = world::start(&args, say) => world?,
        () = stopped() => return Err(Failure::Check("stopped while starting".to_owned())),
    };
    if args.once {
        let client = world.layout.client_listen;
        say(
            "ready",
            &format!(
                "http://{client}; two rotations take about {} s",
                args.leaf_ttl
            ),
        )?;
        return tokio::select! {
            outcome = once::run(world, leaf_ttl) => outcome,
            () = stopped() => Err(Failure::Check("stopped before all was seen".to_owned())),
        };
    }
    view::run(world).await
}
