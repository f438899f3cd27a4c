-- The parts that the source gives, taken as they are; an item that is never in train is cold.
create or replace table cuts as
select cast(null as timestamp) as validation_cut, cast(null as timestamp) as test_cut;

create or replace table parted as
select *, given_part as part from log;

create or replace table items as
with trained as (
    select distinct item_id from parted where part = 'train'
)
select items.* replace (trained.item_id is null as cold)
from items
left join trained using (item_id);
