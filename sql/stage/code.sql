-- Users and items as numbers: users in the order of their ids, those with a profile and no choice after the others;
-- items in the catalogue's order, bucket after bucket.
create or replace table user_codes as
with known as (
    select user_id, false as new from interactions
    union
    select user_id, true as new from users where profile is not null and user_id not in (select user_id from interactions)
)
select user_id, cast(row_number() over (order by new, user_id) - 1 as integer) as user_code
from known;

create or replace table item_codes as
select item_id, cast(row_number() over (order by bucket, item_id) - 1 as integer) as item_code
from items;

-- What ages are counted from: the newest choice that may be learned from, and the newest of all; 0 where there is none.
create or replace table newest as
select
    coalesce(max(epoch_us(ts)) filter (part in ('train', 'validation')), 0) as learnt,
    coalesce(max(epoch_us(ts)), 0) as everything
from interactions;

create or replace view interactions_coded as
select
    user_code as user,
    item_code as item,
    epoch_us(ts) as ts,
    weight,
    cast(list_position(['train', 'validation', 'test', 'held_out'], part) - 1 as tinyint) as part
from interactions
join user_codes using (user_id)
join item_codes using (item_id);

create or replace view shown_coded as
select
    user_code as user,
    item_code as item,
    epoch_us(ts) as ts,
    cast(1 as double) as weight,
    cast(list_position(['train', 'validation', 'test', 'held_out'], part) - 1 as tinyint) as part
from shown
join user_codes using (user_id)
join item_codes using (item_id);
