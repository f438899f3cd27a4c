-- A held-out item inside the training part would make every cold-start figure a lie.
-- The validation part of a given split may hold items that its training part does not: nothing is fitted on it.
select user_id, item_id, part
from interactions
join items using (item_id)
where cold and (part = 'train' or (part = 'validation' and getvariable('split') <> 'given'))
