-- How many choices, and users who chose, are in one snapshot of the log and not in the other; parts do not count.
create or replace view log_after as
select user_id, item_id, ts, weight from read_parquet(getvariable('after'));

create or replace view log_before as
select user_id, item_id, ts, weight from read_parquet(getvariable('before'));

create or replace table log_changes as
with new_choices as (
    from log_after except all from log_before
),
gone_choices as (
    from log_before except all from log_after
),
new_users as (
    select user_id from log_after except select user_id from log_before
),
gone_users as (
    select user_id from log_before except select user_id from log_after
)
select
    (select count(*) from new_choices) as new_choices,
    (select count(*) from gone_choices) as gone_choices,
    (select count(*) from new_users) as new_users,
    (select count(*) from gone_users) as gone_users;
