-- A part by any other name than train, validation or test belongs nowhere, and its rows would be lost unseen.
select user_id, item_id, given_part as part
from interactions_judged
where dropped = 'part is not train, validation or test'
order by user_id, item_id, part
