//! Settings of a server: TLS, and who may do what.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{ClassName, Password, any, at_least, later, list, never, non_null, one_of};

use crate::settings::effects::{JAVA, PLUGINS, SECURITY};

settings! {
    /// TLS, and who may do what.
    pub struct TlsSettings {
        /// The authorizer; Kafka's `StandardAuthorizer` names the one built in, and nothing means that
        /// everybody may do everything.
        authorizer_class_name: String = "authorizer.class.name", "", non_null(), LOW, read_only,
            later(SECURITY);
        /// How long a failed login is kept waiting for its answer.
        connection_failed_authentication_delay_ms: i32 = "connection.failed.authentication.delay.ms", "100",
            at_least(0), LOW, read_only, later(SECURITY);
        /// A Java class that says who is behind a connection.
        principal_builder_class: ClassName = "principal.builder.class",
            "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", any(), MEDIUM,
            per_broker, never(PLUGINS);
        /// Java security providers.
        security_providers: Option<String> = "security.providers", null, any(), LOW, read_only, never(JAVA);
        /// Whether a new certificate may have another distinguished name.
        ssl_allow_dn_changes: bool = "ssl.allow.dn.changes", "false", any(), LOW, read_only, later(SECURITY);
        /// Whether a new certificate may have other alternative names.
        ssl_allow_san_changes: bool = "ssl.allow.san.changes", "false", any(), LOW, read_only,
            later(SECURITY);
        /// The cipher suites that are offered; none named means all.
        ssl_cipher_suites: Vec<String> = "ssl.cipher.suites", "", list(MayBeEmpty), MEDIUM, per_broker,
            later(SECURITY);
        /// Whether clients must, may or do not show a certificate.
        ssl_client_auth: String = "ssl.client.auth", "none", one_of(&["required", "requested", "none"]),
            MEDIUM, per_broker, later(SECURITY);
        /// The TLS versions that are offered.
        ssl_enabled_protocols: Vec<String> = "ssl.enabled.protocols", "TLSv1.2,TLSv1.3", list(MayBeEmpty),
            MEDIUM, per_broker, later(SECURITY);
        /// How the name of the other side is checked; empty means not at all.
        ssl_endpoint_identification_algorithm: String = "ssl.endpoint.identification.algorithm", "https",
            any(), LOW, per_broker, later(SECURITY);
        /// A Java class that makes TLS engines.
        ssl_engine_factory_class: Option<ClassName> = "ssl.engine.factory.class", null, any(), LOW,
            per_broker, never(PLUGINS);
        /// The password of the private key.
        ssl_key_password: Option<Password> = "ssl.key.password", null, any(), MEDIUM, per_broker,
            later(SECURITY);
        /// The Java algorithm that chooses keys.
        ssl_keymanager_algorithm: String = "ssl.keymanager.algorithm", "SunX509", any(), MEDIUM, per_broker,
            never(JAVA);
        /// The certificates, in PEM.
        ssl_keystore_certificate_chain: Option<Password> = "ssl.keystore.certificate.chain", null, any(),
            MEDIUM, per_broker, later(SECURITY);
        /// The private key, in PEM.
        ssl_keystore_key: Option<Password> = "ssl.keystore.key", null, any(), MEDIUM, per_broker,
            later(SECURITY);
        /// The file of the key and certificates.
        ssl_keystore_location: Option<String> = "ssl.keystore.location", null, any(), MEDIUM, per_broker,
            later(SECURITY);
        /// The password of that file.
        ssl_keystore_password: Option<Password> = "ssl.keystore.password", null, any(), MEDIUM, per_broker,
            later(SECURITY);
        /// The format of that file: `PEM`, `PKCS12` or `JKS`.
        ssl_keystore_type: String = "ssl.keystore.type", "JKS", any(), MEDIUM, per_broker, later(SECURITY);
        /// The rules that shorten distinguished names to names.
        ssl_principal_mapping_rules: String = "ssl.principal.mapping.rules", "DEFAULT", any(), LOW, read_only,
            later(SECURITY);
        /// The TLS version that is preferred.
        ssl_protocol: String = "ssl.protocol", "TLSv1.3", any(), MEDIUM, per_broker, later(SECURITY);
        /// The Java security provider of TLS.
        ssl_provider: Option<String> = "ssl.provider", null, any(), MEDIUM, per_broker, never(JAVA);
        /// The Java source of random numbers.
        ssl_secure_random_implementation: Option<String> = "ssl.secure.random.implementation", null, any(),
            LOW, per_broker, never(JAVA);
        /// The Java algorithm that checks certificates.
        ssl_trustmanager_algorithm: String = "ssl.trustmanager.algorithm", "PKIX", any(), MEDIUM, per_broker,
            never(JAVA);
        /// The trusted certificates, in PEM.
        ssl_truststore_certificates: Option<Password> = "ssl.truststore.certificates", null, any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The file of the trusted certificates.
        ssl_truststore_location: Option<String> = "ssl.truststore.location", null, any(), MEDIUM, per_broker,
            later(SECURITY);
        /// The password of that file.
        ssl_truststore_password: Option<Password> = "ssl.truststore.password", null, any(), MEDIUM,
            per_broker, later(SECURITY);
        /// The format of that file: `PEM`, `PKCS12` or `JKS`.
        ssl_truststore_type: String = "ssl.truststore.type", "JKS", any(), MEDIUM, per_broker,
            later(SECURITY);
    }
}
