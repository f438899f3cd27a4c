-- An empty catalogue would publish an index that answers nothing, in place of one that works.
select 'no item is left after staging' as problem
where (select count(*) from items) = 0
