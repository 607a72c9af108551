//! `slowburn schema`: what a file can hold, for editors as a JSON schema and for people as tables.

use clap::{Args, ValueEnum};

use super::{Exit, print_out};
use crate::spec::schema::Schema;

/// Flags of `slowburn schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which file
    #[arg(value_enum)]
    file: File,
    /// Form of the output
    #[arg(long, value_enum, default_value = "json")]
    format: SchemaForm,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum File {
    /// A service and its SLOs
    Service,
    /// What may be done to a service
    Policy,
    /// What does not count
    Exclusions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemaForm {
    /// A JSON schema, draft 7
    Json,
    /// The page of reference
    Markdown,
}

/// Prints it.
pub fn schema(args: &SchemaArgs) -> Exit {
    let schema = match args.file {
        File::Service => Schema::Service,
        File::Policy => Schema::Policy,
        File::Exclusions => Schema::Exclusions,
    };
    print_out(&match args.format {
        SchemaForm::Json => schema.json(),
        SchemaForm::Markdown => schema.reference(),
    });
    Exit::Ok
}
