//! `new client`: makes a secret with the client that Protime issued.

use std::io::Read as _;

use aws_sdk_secretsmanager::operation::create_secret::CreateSecretError;
use connector::aws::credentials::CredentialsError;
use protime::Settings;
use protime::catalogue::catalogue;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::ask::Question;
use super::check_entity;
use crate::arguments::{NewClient, StackArguments};
use crate::confirm::{confirm, has_terminal};
use crate::error::Error;
use crate::output::{Report, hint};
use crate::stack::Account;

pub(super) async fn new(arguments: &NewClient, stack: &StackArguments) -> Result<Report, Error> {
    let answers = Answers::of(arguments)?;
    let name = &answers.name;
    let client = answers.json();
    // Parsed as the functions will parse it.
    Settings::from_json(client.expose_secret().as_bytes()).map_err(|source| {
        let name = name.clone();
        Error::Run(CredentialsError::Invalid { name, source }.into())
    })?;
    let json = |is_done| {
        json!({
            "done": is_done, "client": name, "baseUri": answers.base_uri, "accessTokenUrl": answers.access_token_url,
            "scopes": answers.scopes(),
        })
    };
    if !confirm(&arguments.change, &format!("create the secret `{name}`"))? {
        return Ok(Report::new(json(false), ""));
    }
    create(&Account::open(stack).await?, name, &client).await?;
    hint(format!("Next: protimectl new connection --client {name}"));
    Ok(Report::new(
        json(true),
        format!("secret `{name}` is created\n"),
    ))
}

async fn create(account: &Account, name: &str, client: &SecretString) -> Result<(), Error> {
    let secrets = aws_sdk_secretsmanager::Client::new(&account.config);
    let create = secrets.create_secret().name(name);
    let created = create.secret_string(client.expose_secret()).send().await;
    let Err(error) = created else {
        return Ok(());
    };
    let what = format!("secret `{name}`");
    if error
        .as_service_error()
        .is_some_and(CreateSecretError::is_resource_exists_exception)
    {
        let reason = format!(
            "exists already and was left as it is; `aws secretsmanager put-secret-value --secret-id {name} --secret-string file://client.json` updates it"
        );
        return Err(Error::Aws { what, reason });
    }
    Err(Error::aws(what, &error))
}

/// The values of a client's secret.
struct Answers {
    name: String,
    base_uri: String,
    access_token_url: String,
    client_id: String,
    client_secret: SecretString,
    scopes: String,
}

impl Answers {
    fn of(given: &NewClient) -> Result<Self, Error> {
        let name = ask(
            "NAME",
            "name of the secret, such as protime/acme",
            None,
            given.name.as_deref(),
        )?;
        let base_uri = ask(
            "--base-uri",
            "base URI, such as https://acme.myprotime.eu",
            None,
            given.base_uri.as_deref(),
        )?;
        let token_url = documented_token_url(&base_uri);
        let access_token_url = ask(
            "--access-token-url",
            "access token URL",
            token_url,
            given.access_token_url.as_deref(),
        )?;
        let client_id = ask("--client-id", "client id", None, given.client_id.as_deref())?;
        let scopes = scopes(given.scopes.as_deref())?;
        Ok(Self {
            name,
            base_uri,
            access_token_url,
            client_id,
            scopes,
            client_secret: secret(given)?,
        })
    }

    fn scopes(&self) -> Vec<&str> {
        self.scopes.split_whitespace().collect()
    }

    fn json(&self) -> SecretString {
        let client = json!({
            "base_uri": self.base_uri, "access_token_url": self.access_token_url, "client_id": self.client_id,
            "client_secret": self.client_secret.expose_secret(), "scopes": self.scopes(),
        });
        client.to_string().into()
    }
}

fn ask(
    argument: &str,
    prompt: &str,
    default: Option<String>,
    given: Option<&str>,
) -> Result<String, Error> {
    let question = Question {
        argument,
        prompt,
        default,
    };
    question.answer(given, |text| {
        let is_empty = text.trim().is_empty();
        if is_empty {
            Err("empty".to_owned())
        } else {
            Ok(())
        }
    })
}

/// The token endpoint of a base URI: `https://acme.myprotime.eu` has
/// `https://authentication.myprotime.eu/tenants/acme/connect/token` (`reference/authentication`). `None` if the base
/// URI has another form.
fn documented_token_url(base_uri: &str) -> Option<String> {
    let host = base_uri.strip_prefix("https://")?.split('/').next()?;
    let (tenant, environment) = host.split_once('.')?;
    let is_documented = environment.starts_with("myprotime");
    is_documented
        .then(|| format!("https://authentication.{environment}/tenants/{tenant}/connect/token"))
}

/// The given scopes. On a terminal, it offers those that the entities need.
fn scopes(given: Option<&str>) -> Result<String, Error> {
    let mut offered = None;
    if given.is_none() && has_terminal() {
        let entities = Question {
            argument: "",
            prompt: "entities that it is for, separated by spaces (only to suggest scopes)",
            default: Some(String::new()),
        };
        let known = |text: &str| text.split_whitespace().try_for_each(check_entity);
        offered = needed(&entities.answer(None, known)?);
    }
    ask(
        "--scopes",
        "scopes that Protime granted, separated by spaces",
        offered,
        given,
    )
}

/// The scopes to read and write these entities. Where one of several is enough, it takes the first.
fn needed(entities: &str) -> Option<String> {
    let entities = entities.split_whitespace();
    let known = entities.filter_map(|name| catalogue().entity(name));
    let operations = known.flat_map(|entity| &entity.operations);
    let scopes = operations.filter_map(|operation| operation.needed_scopes().into_iter().next());
    let scopes: std::collections::BTreeSet<String> = scopes.collect();
    let all = scopes.into_iter().collect::<Vec<_>>().join(" ");
    (!all.is_empty()).then_some(all)
}

fn secret(given: &NewClient) -> Result<SecretString, Error> {
    if !given.secret_stdin {
        let question = Question {
            argument: "--secret-stdin",
            prompt: "client secret (not shown)",
            default: None,
        };
        return question.secret();
    }
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| Error::Usage(format!("standard input: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}
