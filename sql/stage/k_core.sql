-- One round of the k-core: users and items with too few interactions leave the log. Repeated until none leaves.
delete from log
where
    item_id in (select item_id from log group by item_id having count(*) < getvariable('min_item_interactions'))
    or user_id in (select user_id from log group by user_id having count(*) < getvariable('min_user_interactions'));
