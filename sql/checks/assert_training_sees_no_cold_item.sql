-- A held-out item inside the training part would make every cold-start figure a lie.
-- The validation part of a given split may hold items that its training part does not: nothing is fitted on it.
with learnt as (
    select user_id, item_id, part from interactions
    union all
    select user_id, item_id, part from shown
)
select user_id, item_id, part
from learnt
join items using (item_id)
where cold and (part = 'train' or (part = 'validation' and getvariable('split') <> 'given'))
