//! Settings of a server: SASL and delegation tokens.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{
    ClassName, Password, any, at_least, between, later, list, never, one_of_any_case,
};

use crate::settings::effects::{PLUGINS, SECURITY};

settings! {
    /// SASL and delegation tokens.
    pub struct SaslSettings {
        /// The longest a login is trusted before the client must log in again; 0 means for ever.
        connections_max_reauth_ms: i64 = "connections.max.reauth.ms", "0", any(), MEDIUM, read_only,
            later(SECURITY);
        /// How often expired delegation tokens are removed.
        delegation_token_expiry_check_interval_ms: i64 = "delegation.token.expiry.check.interval.ms",
            "3600000", at_least(1), LOW, read_only, later(SECURITY);
        /// How long a delegation token is good for until it is renewed.
        delegation_token_expiry_time_ms: i64 = "delegation.token.expiry.time.ms", "86400000", at_least(1),
            MEDIUM, read_only, later(SECURITY);
        /// How long a delegation token can be renewed at most.
        delegation_token_max_lifetime_ms: i64 = "delegation.token.max.lifetime.ms", "604800000", at_least(1),
            MEDIUM, read_only, later(SECURITY);
        /// The secret that signs delegation tokens, the same on every node.
        delegation_token_secret_key: Option<Password> = "delegation.token.secret.key", null, any(), MEDIUM,
            read_only, later(SECURITY);
        /// A Java class that answers the questions of a SASL client.
        sasl_client_callback_handler_class: Option<ClassName> = "sasl.client.callback.handler.class", null,
            any(), MEDIUM, read_only, never(PLUGINS);
        /// The SASL mechanisms that are offered.
        sasl_enabled_mechanisms: Vec<String> = "sasl.enabled.mechanisms", "GSSAPI", list(MayBeEmpty), MEDIUM,
            per_broker, later(SECURITY);
        /// The login of a listener in the notation of JAAS.
        sasl_jaas_config: Option<Password> = "sasl.jaas.config", null, any(), MEDIUM, per_broker,
            later(SECURITY);
        /// The command that renews Kerberos tickets.
        sasl_kerberos_kinit_cmd: String = "sasl.kerberos.kinit.cmd", "/usr/bin/kinit", any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The least time between two renewals of a Kerberos ticket.
        sasl_kerberos_min_time_before_relogin: i64 = "sasl.kerberos.min.time.before.relogin", "60000", any(),
            MEDIUM, per_broker, later(SECURITY);
        /// The rules that shorten Kerberos principals to names.
        sasl_kerberos_principal_to_local_rules: Vec<String> = "sasl.kerberos.principal.to.local.rules",
            "DEFAULT", list(MayBeEmpty), MEDIUM, per_broker, later(SECURITY);
        /// The Kerberos principal under which brokers run.
        sasl_kerberos_service_name: Option<String> = "sasl.kerberos.service.name", null, any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The random part of the time of a ticket's renewal.
        sasl_kerberos_ticket_renew_jitter: f64 = "sasl.kerberos.ticket.renew.jitter", "0.05", any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The part of a ticket's life after which it is renewed.
        sasl_kerberos_ticket_renew_window_factor: f64 = "sasl.kerberos.ticket.renew.window.factor", "0.8",
            any(), MEDIUM, per_broker, later(SECURITY);
        /// A Java class that answers the questions of a login.
        sasl_login_callback_handler_class: Option<ClassName> = "sasl.login.callback.handler.class", null,
            any(), MEDIUM, read_only, never(PLUGINS);
        /// A Java class that logs in.
        sasl_login_class: Option<ClassName> = "sasl.login.class", null, any(), MEDIUM, read_only,
            never(PLUGINS);
        /// How long a connection to the identity provider may take to open.
        sasl_login_connect_timeout_ms: Option<i32> = "sasl.login.connect.timeout.ms", null, any(), LOW,
            read_only, later(SECURITY);
        /// How long the identity provider may take to answer.
        sasl_login_read_timeout_ms: Option<i32> = "sasl.login.read.timeout.ms", null, any(), LOW, read_only,
            later(SECURITY);
        /// How long before its end a credential is renewed at the latest.
        sasl_login_refresh_buffer_seconds: i16 = "sasl.login.refresh.buffer.seconds", "300", any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The least time between two renewals of a credential.
        sasl_login_refresh_min_period_seconds: i16 = "sasl.login.refresh.min.period.seconds", "60", any(),
            MEDIUM, per_broker, later(SECURITY);
        /// The part of a credential's life after which it is renewed.
        sasl_login_refresh_window_factor: f64 = "sasl.login.refresh.window.factor", "0.8", any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The random part of the time of a credential's renewal.
        sasl_login_refresh_window_jitter: f64 = "sasl.login.refresh.window.jitter", "0.05", any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The longest pause between two attempts to reach the identity provider.
        sasl_login_retry_backoff_max_ms: i64 = "sasl.login.retry.backoff.max.ms", "10000", any(), LOW,
            read_only, later(SECURITY);
        /// The first pause between two attempts to reach the identity provider.
        sasl_login_retry_backoff_ms: i64 = "sasl.login.retry.backoff.ms", "100", any(), LOW, read_only,
            later(SECURITY);
        /// The SASL mechanism towards controllers.
        sasl_mechanism_controller_protocol: String = "sasl.mechanism.controller.protocol", "GSSAPI", any(),
            HIGH, read_only, later(SECURITY);
        /// The SASL mechanism among brokers.
        sasl_mechanism_inter_broker_protocol: String = "sasl.mechanism.inter.broker.protocol", "GSSAPI",
            any(), MEDIUM, per_broker, later(SECURITY);
        /// Whether a token is taken when no expected audience is configured.
        sasl_oauthbearer_allow_unverified_audience: bool = "sasl.oauthbearer.allow.unverified.audience",
            "false", any(), MEDIUM, read_only, later(SECURITY);
        /// Whether a token is taken when no expected issuer is configured.
        sasl_oauthbearer_allow_unverified_issuer: bool = "sasl.oauthbearer.allow.unverified.issuer", "false",
            any(), MEDIUM, read_only, later(SECURITY);
        /// The algorithm that signs the assertion to the identity provider.
        sasl_oauthbearer_assertion_algorithm: String = "sasl.oauthbearer.assertion.algorithm", "RS256",
            one_of_any_case(&["ES256", "RS256"]), MEDIUM, read_only, later(SECURITY);
        /// The audience claim of the assertion.
        sasl_oauthbearer_assertion_claim_aud: Option<String> = "sasl.oauthbearer.assertion.claim.aud", null,
            any(), MEDIUM, read_only, later(SECURITY);
        /// How long the assertion is good for.
        sasl_oauthbearer_assertion_claim_exp_seconds: i32 = "sasl.oauthbearer.assertion.claim.exp.seconds",
            "300", between(0, 86_400), LOW, read_only, later(SECURITY);
        /// The issuer claim of the assertion.
        sasl_oauthbearer_assertion_claim_iss: Option<String> = "sasl.oauthbearer.assertion.claim.iss", null,
            any(), MEDIUM, read_only, later(SECURITY);
        /// Whether the assertion carries an identifier of its own.
        sasl_oauthbearer_assertion_claim_jti_include: bool = "sasl.oauthbearer.assertion.claim.jti.include",
            "false", any(), MEDIUM, read_only, later(SECURITY);
        /// How far in the past the assertion becomes valid.
        sasl_oauthbearer_assertion_claim_nbf_seconds: i32 = "sasl.oauthbearer.assertion.claim.nbf.seconds",
            "60", between(0, 3600), LOW, read_only, later(SECURITY);
        /// The subject claim of the assertion.
        sasl_oauthbearer_assertion_claim_sub: Option<String> = "sasl.oauthbearer.assertion.claim.sub", null,
            any(), MEDIUM, read_only, later(SECURITY);
        /// A file that holds a ready assertion.
        sasl_oauthbearer_assertion_file: Option<String> = "sasl.oauthbearer.assertion.file", null, any(),
            MEDIUM, read_only, later(SECURITY);
        /// The file of the key that signs the assertion.
        sasl_oauthbearer_assertion_private_key_file: Option<String> = "sasl.oauthbearer.assertion.private.key.file",
            null, any(), MEDIUM, read_only, later(SECURITY);
        /// The passphrase of that key.
        sasl_oauthbearer_assertion_private_key_passphrase: Option<Password> = "sasl.oauthbearer.assertion.private.key.passphrase",
            null, any(), MEDIUM, read_only, later(SECURITY);
        /// A file with fixed headers and claims of the assertion.
        sasl_oauthbearer_assertion_template_file: Option<String> = "sasl.oauthbearer.assertion.template.file",
            null, any(), MEDIUM, read_only, later(SECURITY);
        /// The client id of the client-credentials grant.
        sasl_oauthbearer_client_credentials_client_id: Option<String> = "sasl.oauthbearer.client.credentials.client.id",
            null, any(), MEDIUM, read_only, later(SECURITY);
        /// The client secret of the client-credentials grant.
        sasl_oauthbearer_client_credentials_client_secret: Option<Password> = "sasl.oauthbearer.client.credentials.client.secret",
            null, any(), MEDIUM, read_only, later(SECURITY);
        /// How far the clocks of broker and identity provider may differ.
        sasl_oauthbearer_clock_skew_seconds: i32 = "sasl.oauthbearer.clock.skew.seconds", "30", any(), LOW,
            read_only, later(SECURITY);
        /// The audiences for which tokens are taken.
        sasl_oauthbearer_expected_audience: Vec<String> = "sasl.oauthbearer.expected.audience", "",
            list(MayBeEmpty), HIGH, read_only, later(SECURITY);
        /// The issuer whose tokens are taken.
        sasl_oauthbearer_expected_issuer: Option<String> = "sasl.oauthbearer.expected.issuer", null, any(),
            HIGH, read_only, later(SECURITY);
        /// How often the keys of the identity provider are fetched again.
        sasl_oauthbearer_jwks_endpoint_refresh_ms: i64 = "sasl.oauthbearer.jwks.endpoint.refresh.ms",
            "3600000", any(), LOW, read_only, later(SECURITY);
        /// The longest pause between two attempts to fetch those keys.
        sasl_oauthbearer_jwks_endpoint_retry_backoff_max_ms: i64 = "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
            "10000", any(), LOW, read_only, later(SECURITY);
        /// The first pause between two attempts to fetch those keys.
        sasl_oauthbearer_jwks_endpoint_retry_backoff_ms: i64 = "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
            "100", any(), LOW, read_only, later(SECURITY);
        /// Where the keys of the identity provider are.
        sasl_oauthbearer_jwks_endpoint_url: Option<String> = "sasl.oauthbearer.jwks.endpoint.url", null,
            any(), MEDIUM, read_only, later(SECURITY);
        /// How tokens are got; Kafka's retrievers name those built in.
        sasl_oauthbearer_jwt_retriever_class: ClassName = "sasl.oauthbearer.jwt.retriever.class",
            "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", any(), MEDIUM, read_only,
            later(SECURITY);
        /// How tokens are checked; Kafka's validators name those built in.
        sasl_oauthbearer_jwt_validator_class: ClassName = "sasl.oauthbearer.jwt.validator.class",
            "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", any(), MEDIUM, read_only,
            later(SECURITY);
        /// The scope asked for with the client-credentials grant.
        sasl_oauthbearer_scope: Option<String> = "sasl.oauthbearer.scope", null, any(), MEDIUM, read_only,
            later(SECURITY);
        /// The claim that holds the scope.
        sasl_oauthbearer_scope_claim_name: String = "sasl.oauthbearer.scope.claim.name", "scope", any(), LOW,
            read_only, later(SECURITY);
        /// The claim that holds the subject.
        sasl_oauthbearer_sub_claim_name: String = "sasl.oauthbearer.sub.claim.name", "sub", any(), LOW,
            read_only, later(SECURITY);
        /// Where tokens are got.
        sasl_oauthbearer_token_endpoint_url: Option<String> = "sasl.oauthbearer.token.endpoint.url", null,
            any(), MEDIUM, read_only, later(SECURITY);
        /// A Java class that answers the questions of a SASL server.
        sasl_server_callback_handler_class: Option<ClassName> = "sasl.server.callback.handler.class", null,
            any(), MEDIUM, read_only, never(PLUGINS);
        /// The largest message of a login.
        sasl_server_max_receive_size: i32 = "sasl.server.max.receive.size", "524288", any(), MEDIUM,
            read_only, later(SECURITY);
    }
}
