//! The commands that documents and help texts show are commands: each is parsed by the definition of the flags.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::Cli;

/// Words of a shell line up to its first operator or comment; `None` where a quote does not end.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '&' | ';' | '>' | '<' | ')') => break,
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The commands of a text for a shell, each from `slowburn` to the end of its line; a line that ends in a backslash goes
/// on in the next one.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let begins = |line: &str, at: usize| {
        let before = line[..at].trim_end();
        before.is_empty()
            || before.ends_with(['|', '&', ';', '(', '!', '$'])
            || ["if", "do", "then", "until", "while", "run --locked --"].iter().any(|word| before.ends_with(word))
    };
    let mut found = Vec::new();
    for line in joined.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for (at, _) in line.match_indices("slowburn ") {
            if begins(line, at) {
                found.push(line[at..].to_owned());
            }
        }
    }
    found
}

/// What is shown for a shell in a page: fenced blocks of one, blocks that are indented by four, lines of `run`.
fn shown(page: &str) -> Vec<String> {
    let (mut blocks, mut block, mut fence) = (Vec::new(), String::new(), None::<bool>);
    for line in page.lines() {
        match (fence, line.trim_start()) {
            (None, start) if start.starts_with("```") => {
                fence = Some(matches!(&start[3..], "" | "sh" | "bash" | "console"))
            }
            (Some(_), start) if start.starts_with("```") => fence = None,
            (Some(true), _) => block += &format!("{line}\n"),
            (None, _) if line.starts_with("    ") => block += &format!("{line}\n"),
            _ => {
                blocks.push(std::mem::take(&mut block));
                continue;
            }
        }
        if fence.is_none() && !line.starts_with("    ") {
            blocks.push(std::mem::take(&mut block));
        }
    }
    blocks.push(block);
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Why a command is none; `whole` where everything that it needs has to be there.
fn fault(command: &str, whole: bool) -> Option<String> {
    let Some(words) = words(command) else { return Some("a quote does not end".into()) };
    // What stands for something: `DIR`, `…`.
    if words.iter().any(|word| word == "..." || word == "…") {
        return None;
    }
    match Cli::try_parse_from(words) {
        Ok(_) => None,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !whole =>
            {
                None
            }
            // `slowburn run --resolution`, `slowburn completions SHELL`: a flag is named, or what a word stands for.
            ErrorKind::InvalidValue if !whole && stands_for_something(&error) => None,
            _ => Some(error.to_string().lines().next().unwrap_or_default().to_owned()),
        },
    }
}

/// Whether a value was left out, or is a word in capitals.
fn stands_for_something(error: &clap::Error) -> bool {
    use clap::error::{ContextKind, ContextValue};
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
        _ => true,
    }
}

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            pages(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn every_command_of_the_documents_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    pages(root, &mut paths);
    paths.sort();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for path in &paths {
        let page = fs::read_to_string(path).expect("readable");
        for command in shown(&page).iter().flat_map(|block| commands(block)) {
            checked += 1;
            wrong.extend(fault(&command, true).map(|why| format!("{}: {command}\n    {why}", path.display())));
        }
        // Within a sentence a command may lack what it needs; what it has is right.
        for command in page.split('`').skip(1).step_by(2).filter(|code| code.starts_with("slowburn ")) {
            checked += 1;
            wrong.extend(fault(command, false).map(|why| format!("{}: {command}\n    {why}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 60, "only {checked} commands");
}

#[test]
fn every_example_of_a_help_text_is_a_command() {
    let cli = Cli::command();
    let (mut wrong, mut checked) = (Vec::new(), BTreeSet::new());
    let mut all: Vec<&clap::Command> = vec![&cli];
    while let Some(command) = all.pop() {
        all.extend(command.get_subcommands());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in commands(&help) {
            wrong.extend(fault(&example, true).map(|why| format!("{example}\n    {why}")));
            checked.insert(example);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked.len() > 30, "only {} examples", checked.len());
}

#[test]
fn what_is_no_command_is_seen() {
    assert!(fault("slowburn chek rules", true).is_some());
    assert!(fault("slowburn check rules --promtheus-url http://a", true).is_some());
    assert!(fault("slowburn ask --service a", true).is_some());
    assert_eq!(fault("slowburn ask --service a", false), None);
    assert_eq!(fault("slowburn check rules | head # all of them", true), None);
    let page = "Text\n\n    slowburn run \\\n      --rules a && slowburn halts\n\n```yaml\n# slowburn check\n```\n";
    let block = shown(page).concat();
    assert_eq!(commands(&block).len(), 2, "{block}");
    assert_eq!(words("slowburn a 'b c' \"d\" > e"), Some(["slowburn", "a", "b c", "d"].map(str::to_owned).into()));
}
