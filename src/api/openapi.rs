//! The description of the API (OpenAPI 3.1), made from the code.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// What no single call says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Nameplate",
        description = "Custom hostnames with automatic HTTPS. Documents are those of JSON:API. Every call needs a \
            token; a token of one organization sees nothing of another.",
    ),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "hostnames", description = "Customers' hostnames"),
        (name = "sites", description = "Where hostnames' requests go"),
        (name = "tokens", description = "Who may call"),
        (name = "organizations", description = "Who has how many hostnames"),
        (name = "webhooks", description = "Who is told what happens"),
        (name = "events", description = "What happened, and who asked for it"),
        (name = "certificates", description = "Certificates, and the authorities that give them"),
    ),
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Made by `nameplate token create`, or by another token of the scope admin."))
            .build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Says that what callers send has no other attributes than those: [`Attributes`] refuses any.
///
/// [`Attributes`]: super::body::Attributes
pub fn close(description: &mut utoipa::openapi::OpenApi) {
    let Some(components) = &mut description.components else { return };
    for (name, schema) in &mut components.schemas {
        let sent = name.ends_with("InputAttributes") || name.ends_with("PatchAttributes");
        if let (true, RefOr::T(Schema::Object(object))) = (sent, schema) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// The description without the calls.
pub fn document() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
