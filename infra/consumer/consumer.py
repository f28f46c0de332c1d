"""Reads Protime's records from the pages queue into a table: an example to start from.

Messages come at least once and in any order. Whatever the order, the tables end up the same:

    events    every message that was taken, so that a repeat is known by its id
    resyncs   the events by which a connection began anew
    versions  what may be the newest of a record: mostly one row, more while messages overtake each other
    records   (view) the newest of each record; one that was deleted stays, with `deleted` = 1
    runs      (view) of each run: how many messages it has sent, how many came, how many are missing. The first and the
              last are null until the run is complete; a run of which `missing` is 0 is all there.
"""

import json
import logging
import os
import sqlite3
from functools import cache

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

TABLES = """
create table if not exists events (
  subject text not null, id text not null, type text not null, run text not null, time text not null,
  place text,        -- of a page: chain, page and part
  messages integer,  -- of a completion: how many page messages the run has sent
  primary key (subject, id)) strict;

create table if not exists resyncs (
  subject text not null, run text not null, time text not null, primary key (subject, run)) strict;

create table if not exists versions (
  subject text not null, entity text not null, key text not null, version text not null, time text not null,
  event text not null, run text not null, sync text not null, deleted integer not null, record text not null,
  primary key (subject, key, version, event)) strict;

-- A row goes when another one is at least as new and was read later: a resync that ends the other ends this one too.
create trigger if not exists drop_outdated after insert on versions begin
  delete from versions where subject = new.subject and key = new.key and exists (
    select 1 from versions as other where other.subject = new.subject and other.key = new.key
      and other.version >= versions.version and other.time > versions.time);
end;

create view if not exists records as
  select subject, entity, key, version, time, deleted, record from (
    select *, row_number() over (partition by subject, key order by version desc, event desc) as place
    from versions)
  where place = 1;

create view if not exists runs as
  select subject, run, max(messages) as messages, count(distinct place) as received,
    max(0, max(messages) - count(distinct place)) as missing
  from events group by subject, run;
"""

TAKE_EVENT = "insert into events values (:subject, :id, :type, :run, :time, :place, :messages) on conflict do nothing"

# A resync ends what was read before it, but not the load of its own run: a resync can be sent twice, the second time
# after first pages. Times are whole seconds; what was read in the same second stays.
TAKE_RESYNC = "insert into resyncs values (:subject, :run, :time) on conflict do nothing"
END_EARLIER = """
delete from versions where subject = :subject and time < :time and (run <> :run or sync = 'delta')
"""
IS_ENDED = """
select 1 from resyncs where subject = :subject and time > :time and (run <> :run or :sync = 'delta')
"""

# SQLite takes the records out of the message, so that numbers keep all their digits. A record without an id is its own
# key. The status "Deleted" is documented to mean that of clockings only.
TAKE_RECORDS = """
with arrived as (
  select iif(:sync = 'delta', value ->> '$.changeType', null) as change,
    value -> iif(:sync = 'delta', '$.data', '$') as record
  from json_each(:body, '$.data.value'))
insert into versions
select :subject, :entity, coalesce(record -> '$.id', record), coalesce(record ->> '$.changeVersion', ''),
  :time, :id, :run, :sync, change is 'Delete' or (:entity = 'clockings' and record ->> '$.status' is 'Deleted'), record
from arrived where true on conflict do nothing
"""


@cache
def database() -> sqlite3.Connection:
    connection = sqlite3.connect(os.environ.get("DATABASE", "/tmp/protime.sqlite"), timeout=30)
    connection.executescript(TABLES)
    return connection


def row_of(body: str) -> dict:
    """What the statements need of a message; an error if it is none of the connector's."""
    event = json.loads(body)
    row = {name: event[name] for name in ("subject", "id", "type", "run", "time", "entity", "sync")}
    row |= {"body": body, "place": None, "messages": None}
    match event["type"]:
        case "protime.page.v1":
            if not isinstance(event["data"]["value"], list):
                raise ValueError("page: `data.value` is not an array")
            row["place"] = f"{event['chain']}/{event['page']}/{event['part']}"
        case "protime.run-completed.v1":
            row["messages"] = event["data"]["messages"]
        case "protime.resync.v1":
            pass
        case _:
            raise ValueError("`type` is none of protime.page.v1, protime.run-completed.v1, protime.resync.v1")
    return row


def take(record: SQSRecord) -> None:
    """Takes all of one message, or nothing. After an error SQS delivers this message again, and no other."""
    row = row_of(record.body)
    with database() as transaction:
        is_repeat = transaction.execute(TAKE_EVENT, row).rowcount == 0
        if is_repeat:
            return
        match row["type"]:
            case "protime.page.v1":
                if not transaction.execute(IS_ENDED, row).fetchone():
                    transaction.execute(TAKE_RECORDS, row)
            case "protime.resync.v1":
                transaction.execute(TAKE_RESYNC, row)
                transaction.execute(END_EARLIER, row)


# Of a batch in which all messages fail, too, each fails alone.
PROCESSOR = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False, logger=logging.getLogger())


def handler(event: dict, context: object) -> dict:
    return process_partial_response(event, record_handler=take, processor=PROCESSOR, context=context)
