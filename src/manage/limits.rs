//! Validation of the members of a key: names, scopes, networks, metadata, lifetimes.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use crate::account::{KeyBudget, Plan};
use crate::clock::Timestamp;
use crate::key::KeyRecord;
use crate::manage::bounds::Bounds;
use crate::manage::{KeyManager, ManageError};
use crate::name::Scope;
use crate::network;

type Verdict = Result<(), ManageError>;

/// The maximum length of a name, in characters.
pub(super) const LONGEST_NAME: usize = 200;

/// The maximum number each of scopes, paths and networks of a key.
pub(super) const MOST_LISTED: usize = 100;

/// The maximum number of entries in a key's metadata.
pub(super) const MOST_METADATA: usize = 32;
/// The maximum length of each name and value in a key's metadata, in bytes.
pub(super) const LONGEST_METADATA: usize = 500;

pub(super) fn name(name: &str) -> Verdict {
    let refuse = |problem| Err(ManageError::invalid("name", problem));
    if name.trim().is_empty() {
        return refuse("must not be empty".into());
    }
    if name.chars().count() > LONGEST_NAME {
        return refuse(format!("must have at most {LONGEST_NAME} characters"));
    }
    if name.chars().any(|letter| letter.is_control() || is_invisible(letter)) {
        return refuse("must not contain control characters or invisible characters".into());
    }
    Ok(())
}

/// Returns true for characters that are invisible or that change the look of others: Unicode's property
/// `Default_Ignorable_Code_Point`, the line and paragraph separators, the annotation and Egyptian format controls, and
/// blank letters and symbols.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        // Default_Ignorable_Code_Point.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
        // Separators and controls.
        | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
        // Blanks: a Braille cell without dots, a filler, a note without a head.
        | '\u{2800}' | '\u{16fe4}' | '\u{1d159}')
}

/// Checks the length of a list of restrictions, because each request is compared with all of it, and rejects
/// duplicates.
pub(super) fn list<T: PartialEq>(member: &'static str, list: Option<&[T]>) -> Verdict {
    let refuse = |problem| Err(ManageError::invalid(member, problem));
    let list = list.unwrap_or_default();
    if list.len() > MOST_LISTED {
        return refuse(format!("must have at most {MOST_LISTED} entries"));
    }
    if list.iter().enumerate().any(|(place, one)| list[..place].contains(one)) {
        return refuse("must not contain an entry twice".into());
    }
    Ok(())
}

fn metadata(metadata: &BTreeMap<String, String>) -> Verdict {
    let long = |text: &String| text.is_empty() || text.len() > LONGEST_METADATA;
    if metadata.len() > MOST_METADATA
        || metadata.iter().any(|(name, value)| long(name) || value.len() > LONGEST_METADATA)
    {
        let problem =
            format!("must have at most {MOST_METADATA} entries, of at most {LONGEST_METADATA} bytes each");
        return Err(ManageError::invalid("metadata", problem));
    }
    Ok(())
}

/// Rejects networks that match no address, or other addresses than they seem to.
pub(super) fn allowlist(allowlist: Option<&[IpNet]>) -> Verdict {
    list("allowlist", allowlist)?;
    let refused = allowlist.into_iter().flatten().find_map(|network| network::refusal(*network));
    match refused {
        Some(problem) => Err(ManageError::invalid("allowlist", problem.to_string())),
        None => Ok(()),
    }
}

/// The problem with a text that contains a key. It does not repeat the text.
const HOLDS_A_KEY: &str =
    "must not contain a key, which is a secret: remove the key, and revoke it if it was disclosed";

/// The maximum length of a value that an error message repeats, in characters.
const LONGEST_SHOWN: usize = 64;

impl KeyManager {
    /// Checks the name and the metadata that a key is to have. Neither may contain a key, because both are stored and
    /// shown as they are.
    pub(super) fn check_texts(
        &self,
        given_name: Option<&str>,
        given_metadata: Option<&BTreeMap<String, String>>,
    ) -> Verdict {
        given_name.map_or(Ok(()), name)?;
        given_metadata.map_or(Ok(()), metadata)?;
        let core = self.context.gate.core();
        let holds_key = |text: &str| core.formats().iter().any(|format| format.is_word_in(text.as_bytes()));
        if given_name.is_some_and(holds_key) {
            return Err(ManageError::invalid("name", HOLDS_A_KEY));
        }
        if given_metadata.into_iter().flatten().any(|(name, value)| holds_key(name) || holds_key(value)) {
            return Err(ManageError::invalid("metadata", HOLDS_A_KEY));
        }
        Ok(())
    }

    /// Returns a value for an error message: short, without control characters, and without anything that resembles a
    /// key.
    pub(super) fn shown_value(&self, value: &str) -> String {
        if self.context.gate.core().looks_like_key(value) {
            return "a value that looks like a key".into();
        }
        if value.chars().count() > LONGEST_SHOWN {
            return format!("a value of {} bytes", value.len());
        }
        format!("`{}`", value.escape_debug())
    }

    /// Rejects a scope that no rule knows: it would grant nothing, so it is a mistake.
    pub(super) fn check_scopes(&self, scopes: Option<&[Scope]>) -> Verdict {
        list("scopes", scopes)?;
        let core = self.context.gate.core();
        let known = core.known_scopes();
        match scopes.into_iter().flatten().find(|scope| !known.contains(*scope)) {
            Some(unknown) => {
                let shown = self.shown_value(unknown.as_str());
                Err(ManageError::invalid("scopes", format!("contains {shown}, which no rule requires")))
            }
            None => Ok(()),
        }
    }

    /// Rejects invalid quotas and limits, including those that a key inherits from its account: a quota
    /// that is not configured would make the key useless.
    pub(super) fn check_terms(&self, record: &KeyRecord) -> Verdict {
        let gate = &self.context.gate;
        let known = gate.core().check_terms(record);
        known.map_err(|unknown| ManageError::invalid("quotas", format!("is invalid: {unknown}")))?;
        gate.check_quotas(record.quotas.as_deref().unwrap_or_default())?;
        if record.in_flight == Some(0) {
            return Err(ManageError::invalid("inFlight", "must be at least 1"));
        }
        self.check_budgets(record.budgets.as_deref().unwrap_or_default())?;
        gate.check_caps(record.caps.as_ref())
    }

    /// Rejects budgets in a currency that no rule and no plan names, or of which two have one currency.
    fn check_budgets(&self, budgets: &[KeyBudget]) -> Verdict {
        let core = self.context.gate.core();
        let known = core.known_currencies();
        for (place, KeyBudget { currency, .. }) in budgets.iter().enumerate() {
            if !known.contains(currency) {
                let problem = format!("has the currency `{currency}`, which no rule and no plan names");
                return Err(ManageError::invalid("budgets", problem));
            }
            if budgets.iter().take(place).any(|earlier| earlier.currency == *currency) {
                return Err(ManageError::invalid("budgets", format!("has two budgets in `{currency}`")));
            }
        }
        Ok(())
    }

    /// Returns the default expiry of a new key: the end of its plan's lifetime, or the issuer's expiry if that is
    /// earlier.
    pub(super) fn default_expiry(plan: &Plan, bounds: &Bounds, now: Timestamp) -> Option<Timestamp> {
        let lifetime = plan.lifetime.default.into_iter().chain(plan.lifetime.longest).min();
        let issuer = bounds.issuer().and_then(|issuer| issuer.expires_at);
        lifetime.map(|lifetime| now.saturating_add(lifetime)).into_iter().chain(issuer).min()
    }

    /// Checks an expiry against the lifetimes that the plan allows, counted from the creation of the key.
    pub(super) fn check_expiry(&self, plan: &Plan, end: Timestamp, born: Timestamp) -> Verdict {
        self.check_expiry_feature(plan)?;
        let lasts = |lifetime: Duration| born.saturating_add(lifetime);
        let refuse = |problem: &str| Err(ManageError::invalid("expiresAt", problem));
        if end <= self.now() {
            return refuse("must be in the future");
        }
        if plan.lifetime.shortest.is_some_and(|shortest| end < lasts(shortest)) {
            return refuse("is earlier than the plan allows");
        }
        if plan.lifetime.longest.is_some_and(|longest| end > lasts(longest)) {
            return refuse("is later than the plan allows");
        }
        Ok(())
    }

    /// Checks that the expiry of a key may be removed.
    pub(super) fn check_no_expiry(&self, plan: &Plan) -> Verdict {
        self.check_expiry_feature(plan)?;
        if plan.lifetime.longest.is_some() {
            let problem = "cannot be removed: the plan has a maximum key lifetime";
            return Err(ManageError::invalid("expiresAt", problem));
        }
        Ok(())
    }

    fn check_expiry_feature(&self, plan: &Plan) -> Verdict {
        let included = |feature: &String| plan.features.contains(feature);
        if self.context.gate.core().expiry_feature.as_ref().is_none_or(included) {
            Ok(())
        } else {
            Err(ManageError::NotInPlan("a custom expiry"))
        }
    }
}
