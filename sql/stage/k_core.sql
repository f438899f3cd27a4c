-- One round of the k-core: users and items with too few interactions leave the log. Repeated until none leaves.
create or replace table log as
with item_counts as (
    select item_id from log group by item_id having count(*) >= getvariable('min_item_interactions')
),
user_counts as (
    select user_id from log group by user_id having count(*) >= getvariable('min_user_interactions')
)
select log.* from log semi join item_counts using (item_id) semi join user_counts using (user_id);
