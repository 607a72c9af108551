//! `slowburn crds`: the custom resources that rules are kept in, as Kubernetes wants them defined.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, complain, print_out};
use crate::spec::resource::ResourceKind;

/// Flags of `slowburn crds`.
#[derive(Debug, Args)]
pub struct CrdsArgs {
    /// Write a file for each into this folder, instead of printing them
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Prints them, or writes them.
pub fn crds(args: &CrdsArgs) -> Exit {
    let Some(folder) = &args.to else {
        print_out(&ResourceKind::ALL.map(ResourceKind::crd).join("---\n"));
        return Exit::Ok;
    };
    for kind in ResourceKind::ALL {
        let path = folder.join(format!("{}.yaml", kind.plural()));
        if let Err(error) = std::fs::write(&path, kind.crd()) {
            complain(&format!("error: cannot write {}: {error}", path.display()));
            return Exit::Findings;
        }
    }
    Exit::Ok
}
