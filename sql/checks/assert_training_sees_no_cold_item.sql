-- A held-out item inside the training part would make every cold-start figure a lie.
select user_id, item_id, part
from interactions
join items using (item_id)
where cold and part in ('train', 'validation')
