-- Without a log nothing can be learned or measured, so nothing could say whether the night may go out.
select 'no interaction is left after staging' as problem
where (select count(*) from interactions) = 0
