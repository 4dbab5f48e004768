//! A deployed stack as the person who looks after it meets it: its outputs, its table and its queues.
//!
//! Must not: change anything.

use super::call::{Ask, Service};
use super::{Aws, AwsError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The tag by which CloudFormation marks what belongs to a stack.
const STACK_TAG: &str = "aws:cloudformation:stack-name";

/// A stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Such as `UPDATE_COMPLETE`.
    pub status: String,
    outputs: BTreeMap<String, String>,
}

/// How the table of a stack stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableState {
    /// Such as `ACTIVE`.
    pub status: String,
    /// Its name as AWS writes it.
    pub arn: String,
    /// Nobody can delete it by mistake.
    pub is_protected: bool,
}

impl Stack {
    /// The stack of this name; None when there is none.
    ///
    /// # Errors
    /// When CloudFormation does not answer, or does not allow it.
    pub async fn of(aws: &Aws, name: &str) -> Result<Option<Stack>, AwsError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "DescribeStacks")
            .append_pair("Version", "2010-05-15")
            .append_pair("StackName", name)
            .finish();
        let (attempted, service) = ("look at the stack", Service::CloudFormation);
        match aws.ask(Ask { attempted, service, target: None, body: &body, writes: false }).await {
            Ok(answer) => Ok(Some(parse(&String::from_utf8_lossy(&answer)))),
            // CloudFormation's word for "there is none".
            Err(e) if e.problem == "ValidationError" => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// An output of the template, such as `TableName`.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&str> {
        self.outputs.get(name).map(String::as_str)
    }
}

/// The texts of all elements of this name, in order. CloudFormation's answers are flat where they are read: no attributes, no CDATA.
pub(super) fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = |part: &str| part.split_once(close.as_str()).map(|(text, _)| plain(text));
    xml.split(open.as_str()).skip(1).filter_map(inner).collect()
}

fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

fn parse(xml: &str) -> Stack {
    let outputs =
        xml.split_once("<Outputs>").map_or("", |(_, rest)| rest.split_once("</Outputs>").map_or("", |(inner, _)| inner));
    let pair = |member: &str| Some((texts(member, "OutputKey").pop()?, texts(member, "OutputValue").pop()?));
    Stack {
        status: texts(xml, "StackStatus").into_iter().next().unwrap_or_default(),
        outputs: outputs.split("<member>").skip(1).filter_map(pair).collect(),
    }
}

async fn json_of(
    aws: &Aws,
    attempted: &'static str,
    service: Service,
    target: &'static str,
    ask: &Value,
) -> Result<Value, AwsError> {
    let body = ask.to_string();
    let answer = aws.ask(Ask { attempted, service, target: Some(target), body: &body, writes: false }).await?;
    serde_json::from_slice(&answer).map_err(|_| AwsError::new(attempted, "the answer could not be read"))
}

/// How this table stands; None when there is none.
///
/// # Errors
/// When DynamoDB does not answer, or does not allow it.
pub async fn table_state(aws: &Aws, table: &str) -> Result<Option<TableState>, AwsError> {
    let ask = json!({ "TableName": table });
    match json_of(aws, "look at the table", Service::DynamoDb, "DynamoDB_20120810.DescribeTable", &ask).await {
        Ok(answer) => {
            let text = |name: &str| answer["Table"][name].as_str().unwrap_or_default().to_owned();
            let is_protected = answer["Table"]["DeletionProtectionEnabled"].as_bool().unwrap_or(false);
            Ok(Some(TableState { status: text("TableStatus"), arn: text("TableArn"), is_protected }))
        }
        Err(e) if e.problem == "ResourceNotFoundException" => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether the table can be restored to any second of the last 35 days.
///
/// # Errors
/// When DynamoDB does not answer, or does not allow it.
pub async fn can_be_restored(aws: &Aws, table: &str) -> Result<bool, AwsError> {
    let (ask, target) = (json!({ "TableName": table }), "DynamoDB_20120810.DescribeContinuousBackups");
    let answer = json_of(aws, "look at the table's backups", Service::DynamoDb, target, &ask).await?;
    let status = &answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"];
    Ok(status == "ENABLED")
}

/// The name of the stack that a table belongs to.
///
/// # Errors
/// When DynamoDB does not answer, or does not allow it.
pub async fn stack_of(aws: &Aws, table: &TableState) -> Result<Option<String>, AwsError> {
    let (ask, target) = (json!({ "ResourceArn": table.arn }), "DynamoDB_20120810.ListTagsOfResource");
    let answer = json_of(aws, "look at the table's tags", Service::DynamoDb, target, &ask).await?;
    let tags = answer["Tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tag = tags.iter().find(|tag| tag["Key"] == STACK_TAG);
    Ok(tag.and_then(|tag| tag["Value"].as_str()).map(str::to_owned))
}

/// About how many messages stand on a queue, those that are being worked on included.
///
/// # Errors
/// When SQS does not answer, or does not allow it.
pub async fn messages_on(aws: &Aws, queue_url: &str) -> Result<u64, AwsError> {
    const COUNTS: [&str; 3] =
        ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"];
    let ask = json!({ "QueueUrl": queue_url, "AttributeNames": COUNTS });
    let answer = json_of(aws, "look at a queue", Service::Sqs, "AmazonSQS.GetQueueAttributes", &ask).await?;
    let count = |name: &&str| answer["Attributes"][*name].as_str().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    Ok(COUNTS.iter().map(count).fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outputs_of_a_stack_are_read_from_its_description() {
        let xml = "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult>\
                   <Stacks><member><StackName>v</StackName><StackStatus>UPDATE_COMPLETE</StackStatus><Parameters><member>\
                   <ParameterKey>Practice</ParameterKey><ParameterValue>p</ParameterValue></member></Parameters><Outputs>\n\
                   <member>\n<OutputKey>TableName</OutputKey>\n<Description>The &lt;one&gt;</Description>\
                   <OutputValue>v-Table-1</OutputValue></member>\
                   <member><OutputValue>https://a/b?c=1&amp;d</OutputValue><OutputKey>WebhookUrl</OutputKey></member>\
                   </Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>";
        let stack = parse(xml);
        assert_eq!((stack.status.as_str(), stack.output("TableName")), ("UPDATE_COMPLETE", Some("v-Table-1")));
        assert_eq!((stack.output("WebhookUrl"), stack.output("Practice")), (Some("https://a/b?c=1&d"), None));
        assert_eq!(parse("<StackStatus>CREATE_IN_PROGRESS</StackStatus>").output("TableName"), None);
    }
}
