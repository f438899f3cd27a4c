-- A row from after the night's "now" would let a night that is run again see its own future.
select user_id, item_id, ts from interactions where ts >= getvariable('as_of')
