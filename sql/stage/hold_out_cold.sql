-- Every interaction with a held-out item leaves the evaluated training: before the test it becomes `held_out`.
create or replace table interactions as
select
    parted.* exclude (part),
    case when items.cold and part <> 'test' then 'held_out' else part end as part
from parted
join items using (item_id)
order by user_id, ts, item_id;
