//! The five providers' gates, as their documents describe them.

use tollgate::gate::Check;
use tollgate::key::{Alphabet, Length};
use tollgate::respond::{ErrorFormat, ErrorText};
use tollgate::{DenialKind, GateBuilder, KeyFormat, KeySource, Rule};

use super::World;

pub(crate) const KWERY: &str = "kwery_live_0123456789abcdefABCDEF";
pub(crate) const BACKQUANT: &str = "bq_live_0123456789abcdef0123456789abcdef";
pub(crate) const QUANTDATA: &str = "qd_dFP5qU9rsg84w767lTOWosT6O3AetIny";
pub(crate) const VECTRADE: &str = "vq_aaJFCQFZpv8BZU_RuLLAHlXP_Md3A55GhNeVtnn3Ykk";
pub(crate) const QUANTCONOMY: &str = "mtk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";

pub(crate) fn code(code: &str) -> ErrorText {
    ErrorText { code: Some(code.into()), ..ErrorText::default() }
}

pub(crate) fn public(route: &str) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.public = true;
    rule
}

impl World {
    /// Kwery: header before query, the order of the document, a flat envelope.
    pub(crate) fn kwery(&self) -> GateBuilder {
        let shape = r#"{"error": "{code}", "message": "{message}", "retry_after": "{retry_after}"}"#;
        let error_format = ErrorFormat::json(shape)
            .unwrap()
            .error_text(DenialKind::Unauthorized, code("invalid_api_key"))
            .error_text(DenialKind::Revoked, code("api_key_revoked"))
            .error_text(DenialKind::Paused, code("api_key_paused"))
            .error_text(DenialKind::AddressNotAllowed, code("invalid_api_key"))
            .error_text(DenialKind::AccountSuspended, code("account_suspended"))
            .error_text(DenialKind::Forbidden, code("plan_required"))
            .error_text(DenialKind::RateLimited, code("rate_limit_exceeded"));
        self.bare()
            .source(KeySource::header("X-API-Key").unwrap())
            .source(KeySource::query("api-key").unwrap())
            .format(KeyFormat::new("", Length::between(10, 256)).unwrap().with_alphabet(Alphabet::visible()))
            .order([
                Check::Format,
                Check::LookUp,
                Check::KeyStatus,
                Check::AccountStatus,
                Check::Addresses,
                Check::RateLimits,
                Check::Credits,
                Check::Scopes,
            ])
            .error_format(error_format)
    }

    /// `BackQuant`: one header, four public routes, a nested envelope.
    pub(crate) fn backquant(&self) -> GateBuilder {
        let shape = r#"{"success": false, "error": {"code": "{code}", "message": "{message}"},
            "meta": {"version": "2.0", "timestamp": "{timestamp}", "request_id": "{request_id}"}}"#;
        let missing = ErrorText { message: Some("Missing X-API-Key header".into()), ..ErrorText::default() };
        let error_format = ErrorFormat::json(shape)
            .unwrap()
            .error_text(DenialKind::Unauthorized, code("UNAUTHORIZED"))
            .error_text(DenialKind::Missing, missing);
        let gate = self
            .bare()
            .source(KeySource::header("X-API-Key").unwrap())
            .format(KeyFormat::new("bq_live_", Length::exactly(32)).unwrap())
            .error_format(error_format);
        ["/v2/openapi.json", "/v2/docs", "/v2/redoc", "/v2/health"]
            .into_iter()
            .fold(gate, |gate, path| gate.rule(public(&format!("GET {path}"))))
    }

    /// `QuantData`: the literal `Bearer `, problem details.
    pub(crate) fn quantdata(&self) -> GateBuilder {
        let say = |title: &str, detail: &str| ErrorText {
            title: Some(title.into()),
            message: Some(detail.into()),
            ..ErrorText::default()
        };
        let of_type = |error_text: ErrorText, category: &str| ErrorText {
            type_uri: Some(format!("https://quantdata.us/errors/{category}")),
            ..error_text
        };
        let missing = "Missing or malformed Authorization header. Expected: Bearer qd_...";
        let agree =
            "You must sign the OPRA market-data agreement before using this API. Sign at: {agreement_url}";
        let mut agreement = of_type(say("OPRA Agreement Required", agree), "opra-agreement-required");
        agreement.members.push(("agreementUrl".into(), "{agreement_url}".into()));
        let lapsed = "An active API subscription is required to access this endpoint.";
        let error_format = ErrorFormat::problem()
            .error_text(
                DenialKind::Unauthorized,
                of_type(say("Authentication Failed", "Invalid API key."), "authentication"),
            )
            .error_text(DenialKind::Missing, say("Authentication Required", missing))
            .error_text(DenialKind::InvalidFormat, say("Authentication Failed", "Invalid API key format."))
            .error_text(DenialKind::Revoked, say("Authentication Failed", "API key has been revoked."))
            .error_text(
                DenialKind::SubscriptionRequired,
                of_type(say("API Subscription Required", lapsed), "authorization"),
            )
            .error_text(DenialKind::AgreementRequired, agreement)
            .agreement_url("opra", "https://v3.quantdata.us/legal/agreement");
        let mut rule = Rule::new("POST /v1/options/tool/{tool}").unwrap();
        rule.subscription = true;
        rule.agreements = vec!["opra".into()];
        self.bare()
            .source(KeySource::authorization_literal("Bearer").unwrap())
            .format(KeyFormat::new("qd_", Length::exactly(32)).unwrap())
            .rule(rule)
            .error_format(error_format)
    }

    /// `VecTrade`: `X-API-Key` and, where it is enabled, Bearer.
    pub(crate) fn vectrade(&self, bearer: bool) -> GateBuilder {
        let shape = r#"{"error": {"type": "{type}", "message": "{message}", "docs_url": "{docs_url}"}}"#;
        let say = |kind: &str, message: &str| ErrorText {
            type_uri: Some(kind.into()),
            message: Some(message.into()),
            ..ErrorText::default()
        };
        let mut unauthorized = say("authentication_error", "Missing or invalid API key");
        unauthorized
            .members
            .push(("docs_url".into(), "https://docs.vectrade.io/guides/authentication".into()));
        let scope = "API key does not have permission. Required scope: {required_scope}";
        let other = |name: &str| ErrorText { type_uri: Some(name.into()), ..ErrorText::default() };
        let mut error_format =
            ErrorFormat::json(shape).unwrap().error_text(DenialKind::Unauthorized, unauthorized.clone());
        for kind in DenialKind::ALL.iter().filter(|kind| kind.parent().is_none()) {
            if *kind != DenialKind::Unauthorized {
                error_format = error_format.error_text(*kind, other(kind.name()));
            }
        }
        for kind in DenialKind::ALL.iter().filter(|kind| line(**kind).contains(&DenialKind::Unauthorized)) {
            error_format = error_format.error_text(*kind, unauthorized.clone());
        }
        let error_format = error_format.error_text(DenialKind::ScopeRequired, say("permission_error", scope));
        let gate = self.bare().source(KeySource::header("X-API-Key").unwrap());
        let gate = if bearer { gate.source(KeySource::authorization("Bearer").unwrap()) } else { gate };
        let format =
            KeyFormat::new("vq_", Length::exactly(43)).unwrap().with_alphabet(Alphabet::base64_url());
        gate.format(format).error_format(error_format)
    }

    /// `QuantConomy`: Bearer, a demo key beside the format, two public routes.
    pub(crate) fn quantconomy(&self) -> GateBuilder {
        let shape = r#"{"error": {"code": "{code}", "message": "{message}"}}"#;
        let error_format = ErrorFormat::json(shape)
            .unwrap()
            .error_text(DenialKind::Unauthorized, code("UNAUTHORIZED"))
            .error_text(DenialKind::BadRequest, code("BAD_REQUEST"))
            .error_text(DenialKind::CreditsExhausted, code("INSUFFICIENT_CREDITS"));
        self.bare()
            .source(KeySource::authorization("Bearer").unwrap())
            .format(KeyFormat::new("mtk_", Length::exactly(44)).unwrap())
            .literal("mtk_demo")
            .rule(public("GET /"))
            .rule(public("GET /health"))
            .error_format(error_format)
    }
}

fn line(kind: DenialKind) -> Vec<DenialKind> {
    std::iter::successors(Some(kind), |kind| kind.parent()).collect()
}
