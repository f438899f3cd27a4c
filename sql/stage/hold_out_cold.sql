-- Every interaction with a held-out item leaves the evaluated training: before the test it becomes `held_out`.
-- A given split stays as it is: its cold items are in no training row as it came.
create or replace table interactions as
select
    parted.* exclude (part),
    case
        when items.cold and part <> 'test' and getvariable('split') <> 'given' then 'held_out'
        else part
    end as part
from parted
join items using (item_id);

drop table if exists log;
