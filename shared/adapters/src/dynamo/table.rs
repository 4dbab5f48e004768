//! The table: reads, conditional writes, transactions and the two indexes, in rows.
//!
//! A write is applied once however often the SDK repeats it: a put carries random bytes by which it is recognised, a
//! transaction (and a conditional delete, which is one) a client request token.
//! Must not: know what a row means, or repeat a write on its own.

use super::failure::{self, Call, Doubt};
use super::row::{self, Item};
use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        create_table::builders::CreateTableFluentBuilder, put_item::PutItemError, query::builders::QueryFluentBuilder,
        transact_write_items::TransactWriteItemsError,
    },
    primitives::Blob,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, Delete, GlobalSecondaryIndex, KeySchemaElement,
        KeyType, KeysAndAttributes, Projection, ProjectionType, Put, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
        TimeToLiveSpecification, TransactWriteItem,
    },
};
use std::{collections::HashSet, sync::Arc, time::Duration};

pub use super::client::{client_on, client_with_attempts, new_client};
pub use super::failure::StoreError;
pub use super::row::{Cond, Op, Row};

/// The most parts of a transaction (DynamoDB's limit).
pub const MAX_OPS: usize = 100;
/// The most keys of one BatchGetItem (DynamoDB's limit).
const MAX_BATCH: usize = 100;
/// How often a batch read may come back without any progress before it counts as throttled.
const MAX_STALLS: u32 = 6;
/// The first pause after a batch read without progress, in milliseconds; doubled from then on.
const STALL_PAUSE_MS: u64 = 10;
/// The index of what is due.
const DUE_INDEX: &str = "due";
/// The index of named lists.
const LIST_INDEX: &str = "list";

/// The one table.
#[derive(Debug, Clone)]
pub struct Table {
    client: Client,
    name: String,
    guard: Option<Arc<Op>>,
}

impl Table {
    /// The table of this name (3 to 255 characters); nothing is called.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name, guard: None }
    }

    /// The same table, on which a transaction happens only while this part, an [`Op::Check`], holds. A put or a delete of one row
    /// is not asked.
    #[must_use]
    pub fn guarded(self, guard: Op) -> Self {
        Self { guard: Some(Arc::new(guard)), ..self }
    }

    /// Creates table, indexes and TTL where they are missing. For local use only; on AWS the template does it.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] without an answer (call again), [`StoreError::Bug`] otherwise.
    pub async fn create_if_absent(&self) -> Result<(), StoreError> {
        let fail = |e| bug("create table", e);
        let create = shape(self.client.create_table().table_name(&self.name)).map_err(fail)?;
        match create.send().await {
            Err(e) if e.code() == Some("ResourceInUseException") => {}
            Err(e) => return Err(failure::classify(Call::Write, "create table".to_owned(), &e)),
            Ok(_) => {}
        }
        let ttl =
            TimeToLiveSpecification::builder().enabled(true).attribute_name(row::TTL).build().map_err(|e| fail(e.to_string()))?;
        match self.client.update_time_to_live().table_name(&self.name).time_to_live_specification(ttl).send().await {
            // DynamoDB's word for "already enabled".
            Err(e) if e.code() == Some("ValidationException") => Ok(()),
            Err(e) => Err(failure::classify(Call::Write, "enable ttl".to_owned(), &e)),
            Ok(_) => Ok(()),
        }
    }

    /// The row as of now.
    ///
    /// # Errors
    /// Transient, Throttled; Bug if the item is not a row.
    pub async fn get(&self, pk: &str, sk: &str) -> Result<Option<Row>, StoreError> {
        let what = || failure::attempted("get", [pk].into_iter());
        let call = self.client.get_item().table_name(&self.name).set_key(Some(row::key_of(pk, sk))).consistent_read(true);
        let answer = call.send().await.map_err(|e| failure::classify(Call::Read, what(), &e))?;
        answer.item.map(|item| to_row(item, what)).transpose()
    }

    /// The rows of these keys as of now, in no order; missing ones are left out, a key given twice counts once.
    /// Not a snapshot: each row is as of its own moment.
    ///
    /// # Errors
    /// Transient, Throttled; Bug if an item is not a row.
    pub async fn get_many(&self, keys: &[(String, String)]) -> Result<Vec<Row>, StoreError> {
        let mut seen = HashSet::new();
        let distinct: Vec<_> = keys.iter().filter(|key| seen.insert(*key)).collect();
        let mut rows = Vec::with_capacity(distinct.len());
        for chunk in distinct.chunks(MAX_BATCH) {
            self.get_batch(chunk, &mut rows).await?;
        }
        Ok(rows)
    }

    async fn get_batch(&self, keys: &[&(String, String)], rows: &mut Vec<Row>) -> Result<(), StoreError> {
        let what = || failure::attempted("get many", keys.iter().map(|(pk, _)| pk.as_str()));
        let mut open: Vec<Item> = keys.iter().map(|(pk, sk)| row::key_of(pk, sk)).collect();
        let mut stalls = 0_u32;
        while !open.is_empty() {
            let asked = open.len();
            let request = KeysAndAttributes::builder().set_keys(Some(open)).consistent_read(true).build();
            let request = request.map_err(|e| bug(&what(), e.to_string()))?;
            let call = self.client.batch_get_item().request_items(&self.name, request);
            let mut answer = call.send().await.map_err(|e| failure::classify(Call::Read, what(), &e))?;
            for item in answer.responses.as_mut().and_then(|r| r.remove(&self.name)).unwrap_or_default() {
                rows.push(to_row(item, what)?);
            }
            open = answer.unprocessed_keys.and_then(|mut u| u.remove(&self.name)).map(|u| u.keys).unwrap_or_default();
            if open.len() == asked {
                stalls = stalls.saturating_add(1);
                if stalls > MAX_STALLS {
                    return Err(StoreError::Throttled { attempted: what() });
                }
                tokio::time::sleep(Duration::from_millis(STALL_PAUSE_MS << stalls)).await;
            }
        }
        Ok(())
    }

    /// All rows of the partition whose sort key starts with `sk_prefix` (empty: the whole partition), as of now,
    /// ascending by sort key (bytes).
    ///
    /// # Errors
    /// Transient, Throttled; Bug if an item is not a row.
    pub async fn query(&self, pk: &str, sk_prefix: &str) -> Result<Vec<Row>, StoreError> {
        let call = self.partition(pk);
        let call = if sk_prefix.is_empty() {
            call.key_condition_expression("#pk = :pk")
        } else {
            call.key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
                .expression_attribute_names("#sk", row::SK)
                .expression_attribute_values(":prefix", AttributeValue::S(sk_prefix.into()))
        };
        self.rows_of(pk, call, None).await
    }

    /// Up to `limit` rows of the partition whose sort key is greater than `after_sk` (empty: from the start), as of now,
    /// ascending.
    ///
    /// # Errors
    /// Transient, Throttled; Bug if an item is not a row.
    pub async fn query_after(&self, pk: &str, after_sk: &str, limit: u32) -> Result<Vec<Row>, StoreError> {
        let call = self.partition(pk);
        let call = if after_sk.is_empty() {
            call.key_condition_expression("#pk = :pk")
        } else {
            call.key_condition_expression("#pk = :pk AND #sk > :after")
                .expression_attribute_names("#sk", row::SK)
                .expression_attribute_values(":after", AttributeValue::S(after_sk.into()))
        };
        self.rows_of(pk, call, Some(limit)).await
    }

    fn partition(&self, pk: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .consistent_read(true)
            .expression_attribute_names("#pk", row::PK)
            .expression_attribute_values(":pk", AttributeValue::S(pk.into()))
    }

    async fn rows_of(&self, pk: &str, call: QueryFluentBuilder, limit: Option<u32>) -> Result<Vec<Row>, StoreError> {
        let what = || failure::attempted("query", [pk].into_iter());
        let items = self.pages(call, limit, what).await?;
        items.into_iter().map(|item| to_row(item, what)).collect()
    }

    /// Follows the pages of a query until its end or until there are `limit` items.
    async fn pages(
        &self,
        call: QueryFluentBuilder,
        limit: Option<u32>,
        what: impl Fn() -> String,
    ) -> Result<Vec<Item>, StoreError> {
        let wanted = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let call = call.table_name(&self.name);
        let mut items = Vec::new();
        let mut start = None;
        while items.len() < wanted {
            let page_size = limit.map(|_| i32::try_from(wanted.saturating_sub(items.len())).unwrap_or(i32::MAX));
            let page = call.clone().set_limit(page_size).set_exclusive_start_key(start).send().await;
            let page = page.map_err(|e| failure::classify(Call::Read, what(), &e))?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// Stores the row whole, with revision `row.rev + 1`, which it returns.
    ///
    /// Under [`Cond::None`] the revision does not grow beyond the one that was overwritten: only for rows that nobody
    /// writes by revision.
    ///
    /// # Errors
    /// Conflict (nothing stored), Throttled (nothing stored), OutcomeUnknown, Bug (for instance a row above 400 KB).
    pub async fn put(&self, row: Row, cond: Cond) -> Result<u64, StoreError> {
        let what = failure::attempted("put", [row.pk.as_str()].into_iter());
        let rev = next_rev(&row, &what)?;
        let write_id = random_bytes(&what)?;
        let doubt = Doubt::default();
        let mut call = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(row::to_item(row, rev, &write_id)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(condition) = Condition::of(cond) {
            call = call.condition_expression(condition.text).expression_attribute_names("#c", condition.attribute);
            if let Some(value) = condition.value {
                call = call.expression_attribute_values(":rev", value);
            }
        }
        let Err(error) = call.customize().interceptor(doubt.clone()).send().await else { return Ok(rev) };
        // The SDK repeated a put whose answer was lost, and what stands in its way is that very put.
        if doubt.exists() && is_own_write(&error, &write_id) {
            return Ok(rev);
        }
        let error = failure::classify(Call::Write, what, &error);
        Err(if doubt.exists() { failure::in_doubt(error) } else { error })
    }

    /// Deletes the row; one that is not there is no error unless the condition says so.
    ///
    /// # Errors
    /// Conflict (nothing deleted), Throttled (nothing deleted), OutcomeUnknown, Bug.
    pub async fn delete(&self, pk: &str, sk: &str, cond: Cond) -> Result<(), StoreError> {
        if cond != Cond::None {
            // After a lost answer the repeat of a conditional delete would find nothing and fail; a transaction's does not.
            return self.write_all("delete", vec![Op::Delete { pk: pk.to_owned(), sk: sk.to_owned(), cond }]).await;
        }
        let what = failure::attempted("delete", [pk].into_iter());
        let doubt = Doubt::default();
        let call = self.client.delete_item().table_name(&self.name).set_key(Some(row::key_of(pk, sk)));
        let Err(error) = call.customize().interceptor(doubt.clone()).send().await else { return Ok(()) };
        let error = failure::classify(Call::Write, what, &error);
        Err(if doubt.exists() { failure::in_doubt(error) } else { error })
    }

    /// Does all of it or nothing. At most [`MAX_OPS`] parts, no two on the same key; none is no call.
    ///
    /// # Errors
    /// Conflict (a condition did not hold or a row is being written; nothing stored), Throttled (nothing stored),
    /// OutcomeUnknown, Bug.
    pub async fn transact(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        self.write_all("transact", ops).await
    }

    async fn write_all(&self, operation: &str, mut ops: Vec<Op>) -> Result<(), StoreError> {
        let what = failure::attempted(operation, ops.iter().map(Op::pk));
        if ops.is_empty() {
            return Ok(());
        }
        if let Some(guard) = &self.guard
            && !ops.iter().any(|op| op.pk() == guard.pk() && op.sk() == guard.sk())
        {
            ops.push(Op::clone(guard));
        }
        if ops.len() > MAX_OPS {
            return Err(bug(&what, format!("{} parts, at most {MAX_OPS} are possible", ops.len())));
        }
        let token = hex::encode(random_bytes(&what)?);
        let mut call = self.client.transact_write_items().client_request_token(token);
        for op in ops {
            call = call.transact_items(self.part(op, &what)?);
        }
        let doubt = Doubt::default();
        let Err(error) = call.customize().interceptor(doubt.clone()).send().await else { return Ok(()) };
        let canceled = cancellation(&error, &what);
        let is_canceled = canceled.is_some();
        let error = canceled.unwrap_or_else(|| failure::classify(Call::Write, what, &error));
        // A repeat with the token of an applied transaction succeeds (for 10 minutes): a cancellation is certain.
        Err(if doubt.exists() && !is_canceled { failure::in_doubt(error) } else { error })
    }

    fn part(&self, op: Op, what: &str) -> Result<TransactWriteItem, StoreError> {
        let fail = |e: aws_sdk_dynamodb::error::BuildError| bug(what, e.to_string());
        let item = TransactWriteItem::builder();
        let item = match op {
            Op::Put { row, cond } => {
                let rev = next_rev(&row, what)?;
                let mut put = Put::builder().table_name(&self.name).set_item(Some(row::to_item(row, rev, &random_bytes(what)?)));
                if let Some(c) = Condition::of(cond) {
                    put = put.condition_expression(c.text).expression_attribute_names("#c", c.attribute);
                    put = put.set_expression_attribute_values(c.value.map(|v| [(":rev".to_owned(), v)].into()));
                }
                item.put(put.build().map_err(fail)?)
            }
            Op::Delete { pk, sk, cond } => {
                let mut delete = Delete::builder().table_name(&self.name).set_key(Some(row::key_of(&pk, &sk)));
                if let Some(c) = Condition::of(cond) {
                    delete = delete.condition_expression(c.text).expression_attribute_names("#c", c.attribute);
                    delete = delete.set_expression_attribute_values(c.value.map(|v| [(":rev".to_owned(), v)].into()));
                }
                item.delete(delete.build().map_err(fail)?)
            }
            Op::Check { pk, sk, cond } => {
                let c = Condition::of(cond).ok_or_else(|| bug(what, "check without a condition".to_owned()))?;
                let check = ConditionCheck::builder().table_name(&self.name).set_key(Some(row::key_of(&pk, &sk)));
                let check = check.condition_expression(c.text).expression_attribute_names("#c", c.attribute);
                let check = check.set_expression_attribute_values(c.value.map(|v| [(":rev".to_owned(), v)].into()));
                item.condition_check(check.build().map_err(fail)?)
            }
        };
        Ok(item.build())
    }

    /// Up to `limit` keys (pk, sk) from the index `due` whose `due` is not greater than `until`, ascending. The index lags:
    /// read the row before acting on it, and claim it by condition.
    ///
    /// # Errors
    /// Transient, Throttled, Bug.
    pub async fn due(&self, until: &str, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        let call = self
            .client
            .query()
            .index_name(DUE_INDEX)
            .key_condition_expression("#p = :p AND #s <= :s")
            .expression_attribute_names("#p", row::DUE_PK)
            .expression_attribute_names("#s", row::DUE)
            .expression_attribute_values(":p", AttributeValue::S(row::DUE_PARTITION.into()))
            .expression_attribute_values(":s", AttributeValue::S(until.into()));
        self.keys_of("query index due", call, limit).await
    }

    /// The smallest sort key of the index `due` that is greater than `after`. The index lags.
    ///
    /// # Errors
    /// Transient, Throttled, Bug.
    pub async fn next_due(&self, after: &str) -> Result<Option<String>, StoreError> {
        let call = self
            .client
            .query()
            .index_name(DUE_INDEX)
            .key_condition_expression("#p = :p AND #s > :s")
            .expression_attribute_names("#p", row::DUE_PK)
            .expression_attribute_names("#s", row::DUE)
            .expression_attribute_values(":p", AttributeValue::S(row::DUE_PARTITION.into()))
            .expression_attribute_values(":s", AttributeValue::S(after.into()));
        let items = self.pages(call, Some(1), || "query index due".to_owned()).await?;
        Ok(items.into_iter().next().and_then(|item| item.get(row::DUE)?.as_s().ok().cloned()))
    }

    /// Up to `limit` keys (pk, sk) of the named list whose sort key is greater than `after`, ascending by sort key. The
    /// index lags: read the row before showing or using it.
    ///
    /// # Errors
    /// Transient, Throttled, Bug.
    pub async fn list(&self, list: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        let call = self.client.query().index_name(LIST_INDEX).expression_attribute_names("#p", row::LIST);
        let call = call.expression_attribute_values(":p", AttributeValue::S(list.into()));
        let call = match after.filter(|after| !after.is_empty()) {
            None => call.key_condition_expression("#p = :p"),
            Some(after) => call
                .key_condition_expression("#p = :p AND #s > :s")
                .expression_attribute_names("#s", row::LIST_SORT)
                .expression_attribute_values(":s", AttributeValue::S(after.into())),
        };
        self.keys_of("query index list", call, limit).await
    }

    /// Up to `limit` keys (pk, sk) of the named list whose sort key is between these two, both included, ascending by sort key. The
    /// index lags: read the row before showing or using it.
    ///
    /// # Errors
    /// Transient, Throttled, Bug.
    pub async fn list_between(
        &self,
        list: &str,
        first: &str,
        last: &str,
        limit: u32,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let call = self
            .client
            .query()
            .index_name(LIST_INDEX)
            .key_condition_expression("#p = :p AND #s BETWEEN :first AND :last")
            .expression_attribute_names("#p", row::LIST)
            .expression_attribute_names("#s", row::LIST_SORT)
            .expression_attribute_values(":p", AttributeValue::S(list.into()))
            .expression_attribute_values(":first", AttributeValue::S(first.into()))
            .expression_attribute_values(":last", AttributeValue::S(last.into()));
        self.keys_of("query index list", call, limit).await
    }

    async fn keys_of(&self, what: &str, call: QueryFluentBuilder, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        let items = self.pages(call, Some(limit), || what.to_owned()).await?;
        items.into_iter().map(|item| row::key_from(item).map_err(|name| bug(what, format!("attribute {name}")))).collect()
    }

    /// Hands over every row of the table, page by page, in no order. Not a snapshot.
    ///
    /// # Errors
    /// Transient, Throttled; Bug if an item is not a row. Rows handed over before stay handed over.
    pub async fn scan(&self, each: &mut (dyn FnMut(Row) + Send)) -> Result<(), StoreError> {
        self.scan_of(&[], each).await
    }

    /// The same for the rows of these kinds, or for all if none is named. The others are read, and paid for, and not sent.
    ///
    /// # Errors
    /// Those of [`Table::scan`].
    pub async fn scan_of(&self, kinds: &[&str], each: &mut (dyn FnMut(Row) + Send)) -> Result<(), StoreError> {
        let what = || "scan".to_owned();
        let mut call = self.client.scan().table_name(&self.name).consistent_read(true);
        if !kinds.is_empty() {
            let values: Vec<String> = (0..kinds.len()).map(|n| format!(":k{n}")).collect();
            call = call.filter_expression(format!("#k IN ({})", values.join(", "))).expression_attribute_names("#k", row::KIND);
            for (value, kind) in values.into_iter().zip(kinds) {
                call = call.expression_attribute_values(value, AttributeValue::S((*kind).to_owned()));
            }
        }
        let mut start = None;
        loop {
            let page = call.clone().set_exclusive_start_key(start).send().await;
            let page = page.map_err(|e| failure::classify(Call::Read, what(), &e))?;
            for item in page.items.unwrap_or_default() {
                each(to_row(item, what)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }
}

/// A condition as an expression on the attribute `#c` and the value `:rev`.
struct Condition {
    text: &'static str,
    attribute: &'static str,
    value: Option<AttributeValue>,
}

impl Condition {
    fn of(cond: Cond) -> Option<Self> {
        match cond {
            Cond::None => None,
            Cond::Absent | Cond::Rev(0) => Some(Self { text: "attribute_not_exists(#c)", attribute: row::PK, value: None }),
            Cond::Rev(rev) => {
                Some(Self { text: "#c = :rev", attribute: row::REV, value: Some(AttributeValue::N(rev.to_string())) })
            }
        }
    }
}

fn to_row(item: Item, what: impl Fn() -> String) -> Result<Row, StoreError> {
    row::from_item(item).map_err(|name| bug(&what(), format!("attribute {name}")))
}

fn next_rev(row: &Row, what: &str) -> Result<u64, StoreError> {
    row.rev.checked_add(1).ok_or_else(|| bug(what, "revision at its end".to_owned()))
}

/// 16 bytes: enough that no two writes ever share them; as hex a token of 32 of at most 36 characters.
fn random_bytes(what: &str) -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| bug(what, "no random bytes".to_owned()))?;
    Ok(bytes)
}

fn bug(attempted: &str, detail: String) -> StoreError {
    StoreError::Bug { attempted: attempted.to_owned(), detail }
}

fn is_own_write(error: &SdkError<PutItemError, HttpResponse>, write_id: &[u8]) -> bool {
    let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() else { return false };
    let stored = failed.item().and_then(|item| item.get(row::WRITE_ID));
    stored == Some(&AttributeValue::B(Blob::new(write_id)))
}

/// The meaning of a cancelled transaction: a mistake of ours outweighs a conflict, a conflict outweighs throttling.
fn cancellation(error: &SdkError<TransactWriteItemsError, HttpResponse>, what: &str) -> Option<StoreError> {
    let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else { return None };
    let codes = canceled.cancellation_reasons().iter().filter_map(|r| r.code()).filter(|code| *code != "None");
    let codes: Vec<&str> = codes.collect();
    let attempted = what.to_owned();
    Some(match codes.iter().find(|code| !failure::is_conflict(code) && !failure::is_throttling(code)) {
        Some(code) => bug(what, (*code).to_owned()),
        None if codes.iter().any(|code| failure::is_conflict(code)) => StoreError::Conflict { attempted },
        None if codes.is_empty() => bug(what, "cancelled without a reason".to_owned()),
        None => StoreError::Throttled { attempted },
    })
}

/// Keys, indexes and billing of the table; the template of the stack says the same.
fn shape(create: CreateTableFluentBuilder) -> Result<CreateTableFluentBuilder, String> {
    let mut create = create.billing_mode(BillingMode::PayPerRequest);
    for name in [row::PK, row::SK, row::DUE_PK, row::DUE, row::LIST, row::LIST_SORT] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(attribute.build().map_err(|e| e.to_string())?);
    }
    for element in key_schema(row::PK, row::SK)? {
        create = create.key_schema(element);
    }
    for (index, partition, sort) in [(DUE_INDEX, row::DUE_PK, row::DUE), (LIST_INDEX, row::LIST, row::LIST_SORT)] {
        let index = GlobalSecondaryIndex::builder()
            .index_name(index)
            .set_key_schema(Some(key_schema(partition, sort)?.into()))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build());
        create = create.global_secondary_indexes(index.build().map_err(|e| e.to_string())?);
    }
    Ok(create)
}

fn key_schema(partition: &str, sort: &str) -> Result<[KeySchemaElement; 2], String> {
    let element =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().map_err(|e| e.to_string());
    Ok([element(partition, KeyType::Hash)?, element(sort, KeyType::Range)?])
}
