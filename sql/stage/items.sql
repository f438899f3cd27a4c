-- Every row the source returned, with the reason why it is dropped, if it is.
create or replace table items_judged as
with typed as (
    select rowid as position, * replace (nullif(trim(item_id), '') as item_id) from items_read
),
numbered as (
    select *, row_number() over (partition by item_id order by position) as occurrence from typed
)
select
    * exclude (position, occurrence),
    case
        when item_id is null then 'no item_id'
        when occurrence > 1 then 'item_id seen before'
    end as dropped,
    case when dropped is not null then item_id end as dropped_example
from numbered;

-- The catalogue. MD5 places an item in the same bucket on every machine, whatever rows come and go.
create or replace table items as
select
    * exclude (dropped, dropped_example),
    cast(md5_number_lower(item_id) % getvariable('buckets') as integer) as bucket,
    md5_number_upper(getvariable('seed') || ':' || item_id) / 18446744073709551616.0
        < getvariable('cold_item_share') as cold
from items_judged
where dropped is null;

-- Of what was judged, only the reasons are read again: texts, and media that come as bytes, are held once.
create or replace table items_judged as select dropped, dropped_example from items_judged;

drop table if exists items_read;
