//! The operator's AWS account and the deployed stack in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudformation::error::ProvideErrorMetadata;
use aws_sdk_lambda::config::SharedCredentialsProvider;
use aws_sdk_lambda::operation::RequestId as _;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use connector::aws::credentials::HttpClients;
use connector::clock::Clock;
use connector::store::StateTable;

use serde_json::Value;

use crate::arguments::StackArguments;
use crate::error::Error;

/// The operator may use clients with any secret name: the operator's own rights decide.
const ANY_PREFIX: &str = "";

/// An AWS account, used with the operator's credentials.
pub(crate) struct Account {
    pub(crate) config: SdkConfig,
    http: protime::HttpPool,
}

/// A resource of the stack or of a nested one.
#[derive(Debug)]
struct Resource {
    kind: String,
    logical: String,
    physical: String,
}

impl Resource {
    /// The name of the nested stack that holds the resource. `None` if the stack itself holds it.
    fn template(&self) -> Option<&str> {
        self.logical.rsplit_once('/').map(|(stack, _)| stack)
    }
}

/// The deployed stack and its resources.
pub(crate) struct Stack {
    pub(crate) name: String,
    pub(crate) account: Account,
    resources: Vec<Resource>,
}

impl Account {
    pub(crate) async fn open(arguments: &StackArguments) -> Result<Self, Error> {
        let http = protime::http_client().map_err(|error| Error::Other(error.to_string()))?;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        loader = connector::aws::http::over(loader, http.clone());
        if let Some(profile) = &arguments.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &arguments.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let mut config = loader.load().await;
        if let Some(profile) = &arguments.profile {
            config = by_profile(&config, profile);
        }
        if config.region().is_none() {
            let message =
                "no AWS region; give --region, set AWS_REGION, or a region in the profile";
            return Err(Error::Usage(message.to_owned()));
        }
        Ok(Self { config, http })
    }

    /// The Protime clients by secret name. Secrets are read with the operator's rights.
    ///
    /// `service` names the caller in the `User-Agent` to Protime.
    pub(crate) fn clients(&self, service: &'static str) -> HttpClients {
        let secrets = aws_sdk_secretsmanager::Client::new(&self.config);
        let observer = Arc::new(|_| {});
        let (http, clock) = (self.http.clone(), Clock::default());
        HttpClients::new(service, ANY_PREFIX, secrets, http, observer, clock)
    }

    pub(crate) fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    pub(crate) fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(&self.config)
    }
}

/// A named profile precedes keys in the environment, as with the AWS command line.
fn by_profile(config: &SdkConfig, profile: &str) -> SdkConfig {
    let mut of_provider = ProviderConfig::without_region().with_region(config.region().cloned());
    if let Some(http) = config.http_client() {
        of_provider = of_provider.with_http_client(http);
    }
    let provider = ProfileFileCredentialsProvider::builder()
        .configure(&of_provider)
        .profile_name(profile)
        .build();
    let provider = SharedCredentialsProvider::new(provider);
    config.to_builder().credentials_provider(provider).build()
}

fn not_found<E>(stack: &str, error: &aws_sdk_cloudformation::error::SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let what = format!("stack `{stack}`, which --stack and --region select");
    Error::aws(what, error)
}

impl Stack {
    /// Finds the stack and all of its resources.
    pub(crate) async fn open(arguments: &StackArguments) -> Result<Self, Error> {
        let account = Account::open(arguments).await?;
        let name = arguments.stack.clone();
        let cloudformation = aws_sdk_cloudformation::Client::new(&account.config);
        let mut resources = Vec::new();
        // The logical id of a nested resource gets the nested stack's name as a prefix.
        let mut stacks = vec![(name.clone(), String::new())];
        while let Some((stack, prefix)) = stacks.pop() {
            // Unlike `DescribeStackResources`, this call is not limited to 100 resources.
            let asked = cloudformation.list_stack_resources().stack_name(&stack);
            let mut answers = asked.into_paginator().items().send();
            while let Some(found) = answers.next().await {
                let found = found.map_err(|error| not_found(&stack, &error))?;
                let (Some(kind), Some(logical), Some(physical)) = (
                    found.resource_type,
                    found.logical_resource_id,
                    found.physical_resource_id,
                ) else {
                    continue;
                };
                let logical = format!("{prefix}{logical}");
                if kind == "AWS::CloudFormation::Stack" {
                    stacks.push((physical, format!("{logical}/")));
                } else {
                    resources.push(Resource {
                        kind,
                        logical,
                        physical,
                    });
                }
            }
        }
        Ok(Self {
            name,
            account,
            resources,
        })
    }

    /// The physical id of a resource: a function's or a table's name, a queue's URL.
    pub(crate) fn id(&self, logical: &str) -> Result<&str, Error> {
        let found = self
            .resources
            .iter()
            .find(|resource| resource.logical == logical);
        found
            .map(|resource| resource.physical.as_str())
            .ok_or_else(|| {
                let name = &self.name;
                Error::Other(format!(
                    "stack `{name}` has no `{logical}`; name the connector's stack with --stack"
                ))
            })
    }

    /// The name of the function of that logical id, in the stack or in one nested in it.
    pub(crate) fn function(&self, logical: &str) -> Option<&str> {
        let mut functions = self
            .resources
            .iter()
            .filter(|resource| resource.kind == "AWS::Lambda::Function");
        let found = functions.find(|function| {
            let own = function.logical.rsplit_once('/');
            own.map_or(function.logical.as_str(), |(_, own)| own) == logical
        });
        found.map(|function| function.physical.as_str())
    }

    /// The queues of the stack, by logical id.
    pub(crate) fn queues(&self) -> BTreeMap<&str, &str> {
        let of_kind = self
            .resources
            .iter()
            .filter(|resource| resource.kind == "AWS::SQS::Queue");
        of_kind
            .map(|queue| (queue.logical.as_str(), queue.physical.as_str()))
            .collect()
    }

    /// All schedules, each with the schedule group of its own template. Without one, the group is `default`.
    pub(crate) fn schedules(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_kind = self
            .resources
            .iter()
            .filter(|resource| resource.kind == "AWS::Scheduler::Schedule");
        of_kind.map(|schedule| {
            let groups = self
                .resources
                .iter()
                .filter(|resource| resource.kind == "AWS::Scheduler::ScheduleGroup");
            let mut own = groups.filter(|group| group.template() == schedule.template());
            let group = own.next().map(|group| group.physical.as_str());
            (group.unwrap_or("default"), schedule.physical.as_str())
        })
    }

    /// Invokes the subscriber and waits for its answer.
    pub(crate) async fn invoke(&self, event: String) -> Result<Vec<u8>, Error> {
        let name = self.id("Subscriber")?;
        let what = || format!("function {name}");
        let call = self.account.lambda().invoke().function_name(name);
        let answer = call.payload(Blob::new(event)).send().await;
        let answer = answer.map_err(|error| Error::aws(what(), &error))?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        if answer.function_error.is_some() {
            let error: Value = serde_json::from_slice(&payload).unwrap_or_default();
            let reason = error["errorMessage"].as_str().unwrap_or("it failed");
            return Err(Error::Aws {
                what: what(),
                reason: reason.to_owned(),
            });
        }
        Ok(payload)
    }

    /// Invokes the subscriber asynchronously; Lambda retries if it fails. Returns the request id.
    pub(crate) async fn start(&self, event: String) -> Result<String, Error> {
        let name = self.id("Subscriber")?;
        let call = self.account.lambda().invoke().function_name(name);
        let call = call.invocation_type(InvocationType::Event);
        let answer = call.payload(Blob::new(event)).send().await;
        let answer = answer.map_err(|error| Error::aws(format!("function {name}"), &error))?;
        Ok(answer.request_id().unwrap_or_default().to_owned())
    }

    pub(crate) fn state(&self) -> Result<StateTable, Error> {
        let dynamodb = aws_sdk_dynamodb::Client::new(&self.account.config);
        Ok(StateTable::new(dynamodb, self.id("StateTable")?))
    }
}
