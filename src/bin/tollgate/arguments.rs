//! The command line: words, and options with a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::str::FromStr;
use std::{error, fmt};

use tollgate::ConfigError;

use crate::words;

pub(crate) const USAGE: &str = r#"usage: tollgate --config FILE --store URL [OPTION]... COMMAND

  keys issue --account ID --name NAME [--environment ENV] [--expires MOMENT] [--scopes A,B] [--paths A,B] [--allow A,B]
             [--quotas A,B|none] [--in-flight N] [--budgets A,B|none] [--caps A,B|none]
  keys list [--account ID] [--status active|paused|revoked] [--environment ENV] [--issued-by ID] [--cursor ID] [--limit N]
  keys show ID
  keys update ID [--name NAME] [--expires MOMENT|never] [--scopes A,B|all] [--paths A,B|all] [--allow A,B|any]
              [--quotas A,B|none|plan] [--in-flight N|plan] [--budgets A,B|none|plan] [--caps A,B|none|plan]
  keys pause ID | resume ID | erase ID
  keys revoke ID [--with-issued]     also revokes the keys that it issued, and the keys that those issued
  keys unrevoke ID       takes back a revocation, within `management.undo_revocation` of the configuration
  keys rotate ID [--overlap 24h]
  keys import --account ID --name NAME --sha256 HEX [--start TEXT] [--environment ENV] [--expires MOMENT]
              [--scopes A,B] [--paths A,B] [--allow A,B]
  keys import --file PATH|-
  accounts create ID --plan PLAN | plan ID --plan PLAN | sign ID --agreement NAME
  accounts quotas ID --quotas A,B|none|plan | caps ID --caps A,B|none|plan
  accounts show ID | suspend ID | resume ID | subscribe ID | unsubscribe ID
  accounts delete ID     revokes all its keys, and keeps their records
  accounts erase ID      removes its records, its keys and its balance
  credits balance ACCOUNT | buckets ACCOUNT | entries ACCOUNT [--cursor NUMBER] [--limit N]
  credits top-up ACCOUNT AMOUNT --id ID [--kind purchase|promotion|refund|grant|balance] [--priority N] [--from MOMENT]
              [--expires MOMENT]     with one of these options, in a new bucket whose id is that of the adjustment
  credits expire ACCOUNT BUCKET --id ID
  credits move ACCOUNT BUCKET AMOUNT --id ID [--kind …] [--priority N] [--from MOMENT] [--expires MOMENT]
  credits deduct ACCOUNT AMOUNT --id ID | set ACCOUNT AMOUNT --id ID | unlimited ACCOUNT --id ID
  credits check          compares balances and buckets with their entries, in every currency
              each but `check` also takes [--currency NAME]
  usage key ID | account ID | rule ROUTE | all [--step minute|hour|day|month] [--from MOMENT] [--to MOMENT] [--csv]
              for a key or an account also [--rule ROUTE]; the step is an hour, or a day for `usage top`, if none is given
  usage top [--by requests|credits|refusals] [--limit N] [--account ID] [--rule ROUTE] [--step …] [--from …] [--to …] [--csv]
  audit list [--account ID] [--key ID] [--actor operator:NAME|user:ID|key:ID] [--action NAME] [--from MOMENT] [--to MOMENT]
             [--cursor ID] [--limit N]     the changes in a database, newest first
  audit forget --before MOMENT       removes the changes before this time, and keeps a change that tells of it

  --config FILE          the gate's configuration
  --store URL            memory:FILE (a JSON file with hashes, without secrets and without credits), sqlite:PATH or
                         postgres://USER@HOST/NAME
  --create               create the file of the store if it does not exist
  --redis URL            announce each change to the other nodes of a database, as in redis://HOST; without it, they
                         apply the change within the bound on staleness of their caches
  --redis-prefix NAME    the prefix of the nodes' keys in that Redis; required with --redis
  --as NAME              the name of the actor in audit events (default: operator)
  --audit FILE           append audit events to a file, one JSON object per line: at, action, key, account, actor, detail;
                         a database keeps them too, for `audit list`
  --json                 print one JSON document; errors and notes are JSON objects on standard error
  --help                 print this text

Examples: MOMENT 2026-04-30T12:00:00Z, ENV live, --allow 192.0.2.0/24. --quotas lists quotas such as `60 per minute`, or
names of quotas in the configuration. --in-flight is the number of requests that are served at the same time. --budgets lists
budgets such as `5000 every 1day` or `100000 tokens calendar month UTC`. --caps lists
parameters such as limit=100 or cursor=forbidden. They replace those of the plan: `none` removes all limits, `plan` restores
those of the account or the plan.

A file to import has one JSON object per line, with hash, account and name, and optionally id, start, environment,
createdAt, expiresAt, scopes, paths, allowIps and metadata:
  {"hash": "9f86d0…", "account": "ada", "name": "bot", "expiresAt": "2027-01-01T00:00:00Z", "allowIps": ["192.0.2.0/24"]}
A hash is 64 hexadecimal digits (SHA-256, or an HMAC under the gate's pepper) or 128 (SHA-512). Each line is
imported on its own. Invalid lines are reported, and the exit code is then 1. An expired key can be imported. The start
can contain as many characters of a key as its format shows."#;

/// The options without a value, besides `--json` and `--help`.
const FLAGS: [&str; 3] = ["with-issued", "create", "csv"];

/// The options with a value.
const OPTIONS: [&str; 40] = [
    "account",
    "action",
    "actor",
    "agreement",
    "allow",
    "as",
    "audit",
    "before",
    "budgets",
    "by",
    "caps",
    "config",
    "currency",
    "cursor",
    "environment",
    "expires",
    "file",
    "from",
    "id",
    "in-flight",
    "issued-by",
    "key",
    "kind",
    "limit",
    "name",
    "overlap",
    "paths",
    "plan",
    "priority",
    "quotas",
    "redis",
    "redis-prefix",
    "rule",
    "scopes",
    "sha256",
    "start",
    "status",
    "step",
    "store",
    "to",
];

/// The commands.
const COMMANDS: [(&str, &[&str]); 5] = [
    (
        "keys",
        &[
            "issue", "list", "show", "update", "pause", "resume", "erase", "revoke", "unrevoke", "rotate",
            "import",
        ],
    ),
    (
        "accounts",
        &[
            "create",
            "plan",
            "sign",
            "quotas",
            "caps",
            "show",
            "suspend",
            "resume",
            "subscribe",
            "unsubscribe",
            "delete",
            "erase",
        ],
    ),
    (
        "credits",
        &["balance", "buckets", "entries", "top-up", "expire", "move", "deduct", "set", "unlimited", "check"],
    ),
    ("usage", &["key", "account", "rule", "all", "top"]),
    ("audit", &["list", "forget"]),
];

/// A command that cannot be parsed.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Usage {}

/// Returns the arguments of a process as text.
pub(crate) fn words(arguments: impl Iterator<Item = OsString>) -> Result<Vec<String>, Usage> {
    let text = |argument: OsString| {
        argument.into_string().map_err(|other| Usage(format!("`{}` is not UTF-8", other.to_string_lossy())))
    };
    arguments.map(text).collect()
}

/// The words and options of a command line that are not read yet. Reading a word or an option removes it.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    words: Vec<String>,
    options: BTreeMap<String, String>,
    wrong: Option<Usage>,
}

impl Arguments {
    /// Returns the arguments, and true if one of them is `--json`.
    pub(crate) fn of(arguments: impl Iterator<Item = String>) -> (Self, bool) {
        let (mut read, mut json, mut rest) = (Self::default(), false, arguments);
        while let Some(argument) = rest.next() {
            match argument.strip_prefix("--") {
                None => read.words.push(argument),
                Some("json") => json = true,
                Some(flag) if FLAGS.contains(&flag) => {
                    read.options.insert(flag.to_owned(), String::new());
                }
                Some(option) => read.option_given(option, &mut rest),
            }
        }
        read.words.reverse();
        (read, json)
    }

    fn option_given(&mut self, option: &str, rest: &mut impl Iterator<Item = String>) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let wrong = if FLAGS.contains(&name) {
            format!("`--{name}` takes no value")
        } else if !OPTIONS.contains(&name) {
            let meant = words::nearest(name, OPTIONS.into_iter().chain(FLAGS));
            let meant = meant.map(|meant| format!("; did you mean `--{meant}`?")).unwrap_or_default();
            format!("unknown option `--{}`{meant}", shown(name))
        } else {
            match value.or_else(|| rest.next()).map(|value| self.options.insert(name.to_owned(), value)) {
                None => format!("`--{name}` has no value"),
                Some(None) => return,
                Some(Some(_)) => format!("`--{name}` is given twice"),
            }
        };
        // The first error may have caused the later ones.
        self.wrong.get_or_insert(Usage(wrong));
    }

    /// Takes the two words of a command, as in `keys list`.
    pub(crate) fn command(&mut self) -> Result<(String, String), Usage> {
        let noun = self.word("a command")?;
        let nouns = COMMANDS.iter().map(|(noun, _)| *noun);
        let Some((_, verbs)) = COMMANDS.iter().find(|(known, _)| *known == noun) else {
            let expected = words::one_of(&noun, nouns);
            return Err(Usage(format!("unknown command `{}`; {expected}", shown(&noun))));
        };
        let listed = || words::one_of("", verbs.iter().copied());
        let verb =
            self.word("what to do").map_err(|Usage(problem)| Usage(format!("{problem}; {}", listed())))?;
        if !verbs.contains(&verb.as_str()) {
            let expected = words::one_of(&verb, verbs.iter().copied());
            return Err(Usage(format!("unknown command `{noun} {}`; {expected}", shown(&verb))));
        }
        Ok((noun, verb))
    }

    /// Returns the key or the account that a command concerns: its next word, or the value of `--account`.
    pub(crate) fn subject(&self) -> Option<String> {
        self.words.last().or_else(|| self.options.get("account")).cloned()
    }

    /// Takes the next word.
    pub(crate) fn word(&mut self, what: &str) -> Result<String, Usage> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        self.words.pop().ok_or_else(|| Usage(format!("{what} is missing")))
    }

    /// Takes the value of an option.
    pub(crate) fn option(&mut self, name: &str) -> Option<String> {
        self.options.remove(name)
    }

    /// Takes an option without a value. Returns true if it is given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.option(name).is_some()
    }

    /// Takes the value of a required option.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, Usage> {
        self.option(name).ok_or_else(|| Usage(format!("`--{name}` is missing")))
    }

    /// Takes and parses the value of an option.
    pub(crate) fn read<T: FromStr<Err = ConfigError>>(&mut self, name: &str) -> Result<Option<T>, Usage> {
        self.option(name).map(|text| read(name, &text)).transpose()
    }

    /// Takes and parses `--limit`.
    pub(crate) fn limit(&mut self) -> Result<Option<usize>, Usage> {
        let limit = self.option("limit").map(|text| number("limit", &text)).transpose()?;
        Ok(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    /// Takes and parses the values of an option, which are separated by commas. The list must not be empty.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        one: impl Fn(&str) -> Result<T, Usage>,
    ) -> Result<Option<Vec<T>>, Usage> {
        let Some(text) = self.option(name) else { return Ok(None) };
        let values: Vec<_> =
            text.split(',').filter(|text| !text.is_empty()).map(&one).collect::<Result<_, _>>()?;
        // An empty list would grant nothing, and is probably an empty variable of a shell.
        if values.is_empty() {
            return Err(Usage(format!("`--{name}` is empty; write a list, or leave the option out")));
        }
        Ok(Some(values))
    }

    /// Returns an error if a word or an option is left.
    pub(crate) fn end(&mut self) -> Result<(), Usage> {
        let option = self.options.keys().next().map(|name| format!("`--{name}`"));
        // A word is not repeated: it may be a secret.
        match option.or(self.words.pop().map(|_| "an additional argument".to_owned())) {
            Some(left) => Err(Usage(format!("{left} is not accepted by this command"))),
            None => self.wrong.take().map_or(Ok(()), Err),
        }
    }
}

/// Returns an unknown word for an error. A long word is not repeated: it may be a secret.
fn shown(word: &str) -> String {
    if word.chars().count() > 16 { "…".to_owned() } else { word.escape_debug().to_string() }
}

/// Parses a whole number up to the largest amount of credits.
pub(crate) fn number(name: &str, text: &str) -> Result<u64, Usage> {
    let most = tollgate::Credits::MAX.get();
    let number = text.parse().ok().filter(|number| *number <= most && !text.starts_with('+'));
    number.ok_or_else(|| Usage(format!("`{name}`: write a whole number from 0 to {most}")))
}

/// Parses a value.
pub(crate) fn read<T: FromStr<Err = ConfigError>>(name: &str, text: &str) -> Result<T, Usage> {
    text.parse().map_err(|error| Usage(problem_with(name, &error)))
}

/// Returns the text of an error without the value, because a secret may stand in its place.
pub(crate) fn problem_with(name: &str, error: &ConfigError) -> String {
    format!("`{name}`: {}", ConfigError::new("", error.problem(), error.expected()))
}
